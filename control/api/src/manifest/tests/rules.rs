//! Mistakes in a rule, but for its sources.

use super::*;

#[test]
fn a_mistake_in_a_rule_is_refused_where_it_stands() {
    refuses(POLICY, IN_A_RULE);
}

pub(super) const IN_A_RULE: &[Mistake] = &[
    (
        "effect: allow",
        "effect: Allow",
        "f:8:13: `effect` cannot be \"Allow\"; did you mean `allow`?",
    ),
    (
        "effect: allow",
        "effect: true",
        "f:8:13: `effect` is a boolean, not text; put it in quotes",
    ),
    (
        "    from:\n    - serviceAccount: shop/web\n",
        "",
        "f:7:5: `from` is missing; say whom the rule is about, as in `- serviceAccount: shop/web`",
    ),
    (
        "    from:\n    - serviceAccount: shop/web",
        "    from: []",
        "f:9:11: `from` is an empty list; say whom the rule is about, as in `- serviceAccount: shop/web`",
    ),
    (
        "    from:\n    - serviceAccount: shop/web",
        "    from:",
        "f:9:9: `from` is an empty list; say whom the rule is about, as in `- serviceAccount: shop/web`",
    ),
    (
        "    from:\n    - serviceAccount: shop/web",
        "    from: shop/web",
        "f:9:11: `from` is text, not a list; write `from: [ … ]`, or each entry after a dash",
    ),
    (
        "ports: [8080]",
        "ports: []",
        "f:11:12: `ports` is an empty list; leave `ports` out to mean all",
    ),
    (
        "ports: [8080]",
        "ports: 8080",
        "f:11:12: `ports` is a number, not a list; write `ports: [ … ]`, or each entry after a dash",
    ),
    (
        "ports: [8080]",
        "ports: [0]",
        "f:11:13: 0 is no port; write a number from 1 to 65535",
    ),
    (
        "ports: [8080]",
        "ports: [65536]",
        "f:11:13: 65536 is no port; write a number from 1 to 65535",
    ),
    (
        "ports: [8080]",
        "ports: [-1]",
        "f:11:13: this number is no port; write a number from 1 to 65535",
    ),
    (
        "ports: [8080]",
        "ports: [80.5]",
        "f:11:13: this number is no port; write a number from 1 to 65535",
    ),
    (
        "ports: [8080]",
        "ports: [http]",
        "f:11:13: \"http\" is no port; write a number from 1 to 65535",
    ),
    (
        "ports: [8080]",
        "ports: [\"+80\"]",
        "f:11:13: \"+80\" is no port; write a number from 1 to 65535",
    ),
    (
        "ports: [8080]",
        "ports: [080]",
        "f:11:13: \"080\" is no port; write a number from 1 to 65535",
    ),
    (
        "ports: [8080]",
        "ports: [8_080]",
        "f:11:13: \"8_080\" is no port; write a number from 1 to 65535",
    ),
    (
        "ports: [8080]",
        "ports: [9010-9000]",
        "f:11:13: the range 9010-9000 ends before it begins; write 9000-9010",
    ),
    (
        "ports: [8080]",
        "ports: [0-80]",
        "f:11:13: \"0-80\" is no range of ports; write one like 9000-9010, with ports from 1 to 65535",
    ),
    (
        "ports: [8080]",
        "ports: [80-65536]",
        "f:11:13: \"80-65536\" is no range of ports; write one like 9000-9010, with ports from 1 to 65535",
    ),
    (
        "ports: [8080]",
        "ports: [80-]",
        "f:11:13: \"80-\" is no range of ports; write one like 9000-9010, with ports from 1 to 65535",
    ),
    (
        "ports: [8080]",
        "ports: [9000 - 9010]",
        "f:11:13: \"9000 - 9010\" is no range of ports; write one like 9000-9010, with ports from 1 to 65535",
    ),
    (
        "ports: [8080]",
        "ports: [[80]]",
        "f:11:13: what is a list is no port; write a number from 1 to 65535",
    ),
    (
        "ports: [8080]",
        "ports: [~]",
        "f:11:13: what is empty is no port; write a number from 1 to 65535",
    ),
    (
        "ports: [8080]",
        "mode: shadows",
        "f:11:11: `mode` cannot be \"shadows\"; did you mean `shadow`?",
    ),
    (
        "ports: [8080]",
        "expires: 2026-12-01T00:00:00",
        "f:11:14: \"2026-12-01T00:00:00\" has no time zone; write 2026-12-01T00:00:00Z, or an offset such as 2026-12-01T00:00:00+02:00",
    ),
    (
        "ports: [8080]",
        "expires: 2026-12-01",
        "f:11:14: \"2026-12-01\" is no moment; write it like 2026-12-01T00:00:00Z",
    ),
    (
        "ports: [8080]",
        "expires: tomorrow",
        "f:11:14: \"tomorrow\" is no moment; write it like 2026-12-01T00:00:00Z",
    ),
    (
        "ports: [8080]",
        "expires: 2026-12-01T00:00:00.5Z",
        "f:11:14: `expires` is given in whole seconds; write it like 2026-12-01T00:00:00Z",
    ),
    (
        "ports: [8080]",
        "expires: 2026-02-30T00:00:00Z",
        "f:11:14: \"2026-02-30T00:00:00Z\" is no moment; write it like 2026-12-01T00:00:00Z",
    ),
    (
        "ports: [8080]",
        "expires: 7",
        "f:11:14: `expires` is a number, not text; put it in quotes",
    ),
    (
        "reason: orders",
        "reason: \"\"",
        "f:12:13: `reason` is empty; write some text",
    ),
    (
        "reason: orders",
        "expires: 2026-12-01T00:00:00Z",
        "f:12:14: a rule that expires says why it exists; write `reason: …` beside it, as in `reason: INC-1234`",
    ),
    (
        "reason: orders",
        "port: 80",
        "f:12:5: `rules` has no field \"port\"; its fields are `name`, `effect`, `from`, `ports`, `mode`, `expires` or `reason`",
    ),
    (
        "reason: orders",
        "reason: orders\n  - {name: web, effect: deny, from: [{namespace: batch}]}",
        "f:13:12: the rule `web` has the name of the one in line 7; give each rule of a policy its own name",
    ),
    (
        "reason: orders",
        "reason: orders\n  - {name: no, effect: deny, from: [{namespace: shop}]}",
        "f:7:11: the rule `web` can never allow anything: `no` denies all of it; remove it, or narrow `no`",
    ),
    (
        "  - name: web\n    effect",
        "  - effect",
        "f:7:5: `name` is missing; give the rule a name that says what it is for",
    ),
    (
        "name: web",
        "name: Web",
        "f:7:11: `name` cannot be \"Web\"; write at most 63 lower-case letters, digits and dashes, a letter or digit at both ends",
    ),
    (
        "name: web",
        "name:",
        "f:7:9: `name` is empty; write some text",
    ),
    (
        "    effect: allow\n",
        "",
        "f:7:5: `effect` is missing; write `effect: allow` or `effect: deny`",
    ),
];
