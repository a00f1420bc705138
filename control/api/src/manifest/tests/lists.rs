//! Lists, as `kubectl get -o yaml` prints them, and what is wrong with them and in them.

use super::*;

/// As `kubectl get` prints it: the dashes are not indented, and what the list is stands behind its items.
pub(super) const LIST: &str = "\
apiVersion: v1
items:
- apiVersion: palisade.dev/v1alpha1
  kind: AuthorizationPolicy
  metadata:
    annotations:
      kubectl.kubernetes.io/last-applied-configuration: |
        {\"apiVersion\":\"palisade.dev/v1alpha1\"}
    creationTimestamp: \"2026-11-01T08:00:00Z\"
    generation: 2
    managedFields:
    - apiVersion: palisade.dev/v1alpha1
      fieldsV1:
        f:spec:
          .: {}
          f:rules: {}
      manager: kubectl
    name: orders
    namespace: shop
    resourceVersion: \"17\"
    uid: 0f2b
  spec:
    rules:
    - effect: allow
      from:
      - serviceAccount: shop/web
      name: web
  status:
    pending: []
    proxies: 2
# a comment
- apiVersion: palisade.dev/v1alpha1
  kind: ClusterAuthorizationPolicy
  metadata:
    name: baseline
  spec:
    rules:
    - effect: deny
      from:
      - namespace: batch
      name: no-batch
kind: List
metadata:
  resourceVersion: \"\"
";

/// What a text says, as people call it, and the lines in which each begins.
fn titles(text: &str) -> Vec<(String, u64)> {
    let documents = read("f", text).unwrap_or_else(|found| panic!("{text}\n{}", shown(&found)));
    let titles = documents.into_iter().map(|one| {
        let title = one.manifest.title().unwrap();
        (title, one.line)
    });
    titles.collect()
}

/// A text with as many spaces before each line.
fn indented(text: &str, spaces: usize) -> String {
    let lines = text.lines().map(|line| " ".repeat(spaces) + line + "\n");
    lines.collect()
}

#[test]
fn each_item_is_a_document_however_the_list_is_written() {
    let orders = "AuthorizationPolicy shop/orders".to_owned();
    let baseline = "ClusterAuthorizationPolicy baseline".to_owned();
    let expected = [(orders.clone(), 3), (baseline.clone(), 32)];
    assert_eq!(titles(LIST), expected);

    let item = indented(POLICY, 4).replacen("    ", "  - ", 1);
    let more = indented(CLUSTER, 4).replacen("    ", "  -\n    ", 1);
    let text =
        format!("kind: List\n# why\nitems:\n\n{item}# more\n  # of it\n{more}apiVersion: v1\n");
    assert_eq!(titles(&text), [(orders.clone(), 5), (baseline.clone(), 20)]);

    let (policy, cluster) = (json(POLICY), json(CLUSTER));
    let text = format!(r#"{{"apiVersion":"v1","items":[{policy},{cluster}],"kind":"List"}}"#);
    assert_eq!(titles(&text), [(orders.clone(), 1), (baseline.clone(), 1)]);
    let text = format!("---\n{text}\n--- # another\n{WORKLOAD}");
    assert_eq!(titles(&text).len(), 3);
}

#[test]
fn lists_of_one_kind_are_read_and_empty_ones_say_nothing() {
    for (kind, policy) in [
        ("AuthorizationPolicyList", POLICY),
        ("ClusterAuthorizationPolicyList", CLUSTER),
    ] {
        let item = indented(policy, 2).replacen("  ", "- ", 1);
        let text = format!("apiVersion: palisade.dev/v1alpha1\nkind: {kind}\nitems:\n{item}");
        assert_eq!(titles(&text).len(), 1);
        assert_eq!(
            said(&text.replacen("palisade.dev/v1alpha1", "v1", 1)),
            "f:1:13: `apiVersion` cannot be \"v1\"; write `palisade.dev/v1alpha1`"
        );
    }
    assert_eq!(titles("apiVersion: v1\nkind: List\nitems: []\n"), []);
}

#[test]
fn expectations_may_be_items_too() {
    let item = "apiVersion: palisade.dev/v1alpha1\nkind: PolicyTest\nmetadata: {name: a}\nspec:\n  tests:\n  - {from: shop/web, to: shop/orders, port: 1, expect: allow}\n";
    let item = indented(item, 2).replacen("  ", "- ", 1);
    let text = format!("apiVersion: v1\nkind: List\nitems:\n{item}");
    assert_eq!(titles(&text), []);
    let [test] = read_tests("f", &text).unwrap().try_into().unwrap();
    assert_eq!(test.expectations[0].place.line, 9);
}

#[test]
fn a_mistake_in_an_item_is_underlined_where_it_stands() {
    let text = LIST
        .replace("effect: allow", "effect: alow")
        .replace("namespace: batch", "namespace: Batch");
    let found = parse("f", &text).unwrap_err();
    let [effect, namespace] = found.as_slice() else {
        panic!("{found:?}");
    };
    let expected = "\
f:24:15: error: `effect` cannot be \"alow\"
 24 |     - effect: alow
    |               ^^^^
    = help: did you mean `allow`?";
    assert_eq!(effect.snippet(&text, 80).to_string(), expected);
    assert_eq!(
        (namespace.line, namespace.column, namespace.width),
        (40, 20, 5)
    );

    let policy = json(&POLICY.replace("[8080]", "[0]"));
    let text =
        format!("{{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [\n  {policy}\n]}}\n");
    let [found] = <[_; 1]>::try_from(parse("f", &text).unwrap_err()).unwrap();
    let line = text.lines().nth(1).unwrap();
    let column = line.find("[0]").unwrap() + 2;
    assert_eq!((found.line, found.width), (2, 1));
    assert_eq!(found.column, u64::try_from(column).unwrap());
}

#[test]
fn two_of_one_name_are_told_of_in_a_list_too() {
    let item = LIST.split("# a comment").next().unwrap();
    let again = item.replacen("apiVersion: v1\nitems:\n", "", 1);
    let text = format!("{item}{again}kind: List\n");
    assert_eq!(
        said(&text),
        "f:31:1: there are two of AuthorizationPolicy shop/orders, the other in line 3; remove or rename one of them"
    );
}

#[test]
fn a_list_that_cannot_be_taken_apart_is_refused() {
    let item = indented(POLICY, 2).replacen("  ", "- ", 1);
    let text = format!("apiVersion: v1\nkind: List\nmetadata: {{}}\nitems:\n{item}");
    for (good, bad, expected) in [
        (
            "apiVersion: v1\n",
            "",
            "f:1:1: `apiVersion` is missing; write `apiVersion: v1`",
        ),
        (
            "apiVersion: v1\n",
            "apiVersion: v2\n",
            "f:1:13: `apiVersion` cannot be \"v2\"; did you mean `v1`?",
        ),
        (
            "metadata: {}\n",
            "metadata: {continue: abc}\n",
            "f:3:22: the list is not all of it: `continue` says that there is more; ask for the whole list, without a limit",
        ),
        (
            "metadata: {}\n",
            "spec: {}\n",
            "f:3:1: `list` has no field \"spec\"; its fields are `apiVersion`, `kind`, `metadata` or `items`",
        ),
        (
            "items:\n- apiVersion",
            "itemes:\n- apiVersion",
            "f:4:1: `list` has no field \"itemes\"; did you mean `items`?",
        ),
        (
            "items:\n- apiVersion",
            "items:\n  apiVersion",
            "f:5:3: `items` is a mapping, not a list; write each object after a dash, or `items: []` where there are none",
        ),
        (
            "  kind: AuthorizationPolicy\n",
            "  kind: List\n",
            "f:6:9: a list cannot be in another; write its items as documents of their own, with `---` before each",
        ),
        (
            "- apiVersion: palisade.dev/v1alpha1\n",
            "- apiVersion: apps/v1\n",
            "f:5:15: `apiVersion` cannot be \"apps/v1\"; write `apiVersion: palisade.dev/v1alpha1`",
        ),
    ] {
        assert_eq!(titles(&text).len(), 1);
        assert_eq!(text.matches(good).count(), 1, "{good}");
        assert_eq!(said(&text.replace(good, bad)), expected, "{bad}");
    }
}

#[test]
fn a_list_without_items_or_with_items_that_are_no_objects_is_refused() {
    for (items, expected) in [
        ("", "f:1:1: `items` is missing; write each"),
        (
            "items:\n",
            "f:3:6: `items` is empty, not a list; write each",
        ),
        (
            "items: [7]\n",
            "f:3:9: `document` is a number, not fields; write",
        ),
        (
            "items: [null]\n",
            "f:3:9: `document` is empty, not fields; write",
        ),
    ] {
        let said = said(&format!("apiVersion: v1\nkind: List\n{items}"));
        assert!(said.starts_with(expected), "{said}");
    }
}

#[test]
fn what_the_api_server_adds_is_a_mistake_in_what_it_does_not_hold() {
    let text = WORKLOAD.replace("namespace: shop,", "namespace: shop, uid: a,") + "status: {}\n";
    let said = said(&text);
    assert!(
        said.contains("no field \"uid\"") && said.contains("no field \"status\""),
        "{said}"
    );
}

/// A document in flow style, in one line.
fn json(text: &str) -> String {
    objects::object(text).unwrap().to_string()
}
