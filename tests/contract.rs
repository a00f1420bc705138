//! What one part writes, the other reads: the containers that are rendered start as the programs that they name.

use std::collections::BTreeMap;
use std::process::Command;

use clap::{ArgAction, CommandFactory, Parser};
use palisade_api::probe::{Ask, HttpGet, Probe, Probes};
use palisade_api::{cluster, sidecar};
use palisade_control::Mode;
use palisade_injector::inject::{NamespaceFacts, Resources, Settings, rewrite};
use palisade_proxy::identity::attest::Credential;
use palisade_proxy::list::List;
use palisade_proxy::probe::Prober;
use serde_json::{Value, json};

#[test]
fn the_sidecar_starts_with_what_the_injector_writes() {
    let pod = injected(&json!({}));
    let container = container(&pod, "initContainers", cluster::PROXY_CONTAINER);
    let line = command_line::<palisade_proxy::cli::Cli>(container, "/palisade-proxy");
    let palisade_proxy::cli::Command::Run(args) = palisade_proxy::cli::Cli::try_parse_from(line)
        .unwrap()
        .command
    else {
        panic!("it is not the sidecar that runs");
    };
    let config = palisade_proxy::config::Config::try_from(*args).unwrap();
    assert_eq!(config.workload, "shop/web-0");
    assert_eq!(config.trust_domain.as_str(), "example.org");
    let control: Vec<String> = config.control.iter().map(ToString::to_string).collect();
    assert_eq!(control, CONTROL);
    assert_eq!(List::all(&config.args.exclude_inbound_port), [9090, 9100]);
    let Credential::ServiceAccount { token, anchor } = &config.credential else {
        panic!("it proves itself by {:?}", config.credential);
    };

    let mount = &container["volumeMounts"][0];
    let volume = named(&pod["spec"]["volumes"], mount["name"].as_str().unwrap());
    let [projected, trust] = [0, 1].map(|index| &volume["projected"]["sources"][index]);
    let at = |file: &Value| -> std::path::PathBuf {
        let folder = mount["mountPath"].as_str().unwrap();
        format!("{folder}/{}", file.as_str().unwrap()).into()
    };
    assert_eq!(*token, at(&projected["serviceAccountToken"]["path"]));
    assert_eq!(*anchor, at(&trust["configMap"]["items"][0]["path"]));
    assert_eq!(
        projected["serviceAccountToken"]["audience"],
        sidecar::TOKEN_AUDIENCE
    );
    for kind in ["startupProbe", "readinessProbe"] {
        let get = &container[kind]["httpGet"];
        assert_eq!(get["port"], sidecar::READINESS_PORT, "{kind}");
        assert_eq!(get["path"], "/ready", "{kind}");
    }
}

#[test]
fn the_sidecar_asks_the_probes_that_the_pod_was_written_with() {
    let pod = injected(&json!({}));
    let container_of_proxy = container(&pod, "initContainers", cluster::PROXY_CONTAINER);
    let variables = environment(container_of_proxy);
    let (_, written) = variables
        .iter()
        .find(|(name, _)| name == cluster::PROBES_VARIABLE)
        .unwrap();
    let read: Probes = serde_json::from_str(written).unwrap();
    assert_eq!(read, probes());

    let config = palisade_proxy::probe::Probes::parse(written).unwrap();
    let prober = Prober::new(&config, None);
    let app = container(&pod, "containers", "app");
    for (kind, path) in [
        ("livenessProbe", "/probe/app/liveness"),
        ("readinessProbe", "/probe/app/readiness"),
        ("startupProbe", "/probe/app/startup"),
    ] {
        let asked = &app[kind]["httpGet"];
        assert_eq!(asked["port"], sidecar::TELEMETRY_PORT, "{kind}");
        assert_eq!(asked["path"], path, "{kind}");
        assert!(prober.patience(path).is_some(), "{path}");
        assert!(read.contains_key(path), "{path}");
    }
    assert_eq!(prober.patience("/probe/app/preStop"), None);
}

#[test]
fn the_redirect_starts_with_what_the_injector_writes() {
    let permissive = json!({"palisade.dev/mtls": "permissive"});
    for (namespace, drop_datagrams) in [(json!({}), true), (permissive, false)] {
        let pod = injected(&namespace);
        let container = container(&pod, "initContainers", cluster::REDIRECT_CONTAINER);
        let line = command_line::<palisade_proxy::cli::Cli>(container, "/palisade-proxy");
        let palisade_proxy::cli::Command::Redirect(args) =
            palisade_proxy::cli::Cli::try_parse_from(line)
                .unwrap()
                .command
        else {
            panic!("it is not the redirect that is written");
        };
        assert!(args.mode.apply && !args.mode.remove && !args.mode.check);
        assert_eq!(List::all(&args.exclude_inbound_port), [9090, 9100]);
        assert_eq!(List::all(&args.exclude_outbound_port), [5671]);
        let cidrs = ["10.9.0.0/16", "fd09::/64"].map(|cidr| cidr.parse().unwrap());
        assert_eq!(List::all(&args.exclude_outbound_cidr), cidrs);
        assert_eq!(args.drop_datagrams, drop_datagrams, "{namespace}");
        assert_eq!(container["securityContext"]["runAsUser"], 0);
    }
}

#[test]
fn control_and_the_injector_start_with_what_install_prints() {
    let objects = installed(&["--mesh-cidr=10.1.0.0/16,fd01::/64", "--svid-ttl=12h"]);
    let control = container(
        deployment(&objects, cluster::CONTROL),
        "containers",
        cluster::CONTROL,
    );
    let line = command_line::<palisade_control::Cli>(control, "control");
    let palisade_control::Command::Run(args) =
        palisade_control::Cli::try_parse_from(line).unwrap().command
    else {
        panic!("control does not run");
    };
    let config = palisade_control::Config::try_from(args).unwrap();
    assert_eq!(config.listen.port(), sidecar::CONTROL_PORT);
    assert_eq!(config.telemetry.unwrap().port(), sidecar::TELEMETRY_PORT);
    assert_eq!(config.svid_ttl.as_secs(), 12 * 3600);
    assert_eq!(config.mesh_cidrs.len(), 2);
    let Mode::Kubernetes(replica) = config.mode else {
        panic!("it serves {:?}", config.mode);
    };
    assert_eq!(replica.name, POD_NAME);
    assert_eq!(replica.system_namespace, cluster::SYSTEM_NAMESPACE);
    assert!(replica.attest_address);

    let injector = container(
        deployment(&objects, cluster::INJECTOR),
        "containers",
        cluster::INJECTOR,
    );
    let line = command_line::<palisade_injector::Cli>(injector, "injector");
    let palisade_injector::Command::Run(args) = palisade_injector::Cli::try_parse_from(line)
        .unwrap()
        .command;
    let config = palisade_injector::Config::try_from(*args).unwrap();
    assert_eq!(config.system_namespace, cluster::SYSTEM_NAMESPACE);
    assert_eq!(config.image, injector["image"].as_str().unwrap());
    assert_eq!(config.control_port, sidecar::CONTROL_PORT);
    assert_eq!(config.listen.port(), sidecar::WEBHOOK_PORT);
    for service in objects.iter().filter(|object| object["kind"] == "Service") {
        let port = match service["metadata"]["name"].as_str().unwrap() {
            cluster::CONTROL => sidecar::CONTROL_PORT,
            _ => config.listen.port(),
        };
        assert_eq!(service["spec"]["ports"][0]["targetPort"], port);
    }
}

/// Each word of it; that the whole is let in, a cluster tells.
#[test]
fn the_api_server_requires_the_containers_that_the_injector_writes() {
    let objects = installed(&["--image=palisade:2", "--trust-domain=example.org"]);
    let required = objects.iter().find(|object| {
        object["kind"] == "ValidatingAdmissionPolicy"
            && object["metadata"]["name"] == "palisade-sidecar-required"
    });
    let variables = required.unwrap()["spec"]["variables"].as_array().unwrap();
    let required: Vec<_> = variables
        .iter()
        .filter_map(|one| one["expression"].as_str())
        .collect();
    let required = required.join("\n");
    let pod = injected(&json!({}));
    let quoted = |value: &Value| format!("'{}'", value.as_str().unwrap());
    let mut words = vec!["\"palisade:2\"".to_owned(), "\"example.org\"".to_owned()];
    for name in [cluster::REDIRECT_CONTAINER, cluster::PROXY_CONTAINER] {
        let container = container(&pod, "initContainers", name);
        for list in ["command", "args"] {
            let list = container[list].to_string();
            words.push(list.replace('"', "'").replace(',', ", "));
        }
        let user = &container["securityContext"]["runAsUser"];
        words.push(format!("c.securityContext.runAsUser != {user}"));
        let variables = container["env"].as_array().unwrap().iter();
        words.extend(variables.map(|variable| quoted(&variable["name"])));
        for mount in container["volumeMounts"].as_array().into_iter().flatten() {
            words.extend([quoted(&mount["name"]), quoted(&mount["mountPath"])]);
        }
    }
    words.retain(|word| !required.contains(word));
    assert!(words.is_empty(), "{words:?} in {required}");
}

/// The webhook's answers, by the paths that the configurations name.
#[test]
fn the_api_server_is_told_the_paths_that_the_injector_serves() {
    let mut paths: Vec<String> = installed(&[])
        .iter()
        .filter_map(|object| object["webhooks"].as_array())
        .flatten()
        .map(|webhook| webhook["clientConfig"]["service"]["path"].clone())
        .map(|path| path.as_str().unwrap().to_owned())
        .collect();
    paths.sort();
    let mut served = [
        cluster::PODS_PATH,
        cluster::EPHEMERAL_PATH,
        cluster::NAMESPACES_PATH,
        cluster::RULES_PATH,
    ];
    served.sort_unstable();
    assert_eq!(paths, served);
}

/// A pod with all that ends in a variable, after the injection.
fn injected(more_annotations: &Value) -> Value {
    let pod = json!({
        "metadata": {"annotations": {
            cluster::EXCLUDE_INBOUND_PORTS: "9090,9100",
            cluster::EXCLUDE_OUTBOUND_PORTS: "5671",
            cluster::EXCLUDE_OUTBOUND_CIDRS: "10.9.0.0/16,fd09::/64",
        }},
        "spec": {"containers": [{
            "name": "app",
            "image": "app:1",
            "ports": [{"name": "http", "containerPort": 8080}],
            "livenessProbe": {
                "httpGet": {
                    "path": "/healthz?who=$(POD_NAME)&cost=$5", "port": "http", "scheme": "HTTPS",
                    "httpHeaders": [{"name": "X-Note", "value": "a \"quoted\" $(HOME) $$"}],
                },
                "timeoutSeconds": 3,
            },
            "readinessProbe": {"tcpSocket": {"port": 5432}},
            "startupProbe": {"grpc": {"port": 9000, "service": "shop.Orders"}},
        }]},
    });
    let mut annotations: BTreeMap<String, String> =
        serde_json::from_value(more_annotations.clone()).unwrap();
    annotations.insert(cluster::ALLOW_OPT_OUT.into(), "true".into());
    let namespace = NamespaceFacts {
        name: "shop".into(),
        annotations,
        ..NamespaceFacts::default()
    };
    let settings = Settings {
        image: "palisade:1".into(),
        image_pull_policy: None,
        trust_domain: "example.org".into(),
        control: CONTROL.map(str::to_owned).into(),
        resources: Resources {
            cpu_request: "10m".parse().unwrap(),
            memory_request: "32Mi".parse().unwrap(),
        },
    };
    rewrite(&pod, &settings, &namespace).unwrap().pod
}

/// The probes of that pod, as they must arrive.
fn probes() -> Probes {
    let probe = |ask, timeout_seconds| Probe {
        ask,
        timeout_seconds,
    };
    let get = HttpGet {
        port: 8080,
        path: "/healthz?who=$(POD_NAME)&cost=$5".into(),
        https: true,
        headers: vec![("X-Note".into(), "a \"quoted\" $(HOME) $$".into())],
    };
    let grpc = Ask::Grpc {
        port: 9000,
        service: "shop.Orders".into(),
    };
    Probes::from([
        ("/probe/app/liveness".into(), probe(Ask::HttpGet(get), 3)),
        (
            "/probe/app/readiness".into(),
            probe(Ask::TcpSocket { port: 5432 }, 1),
        ),
        ("/probe/app/startup".into(), probe(grpc, 1)),
    ])
}

/// What `palisade install` prints.
fn installed(flags: &[&str]) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_palisade"))
        .arg("install")
        .args(flags)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let objects: Vec<Value> =
        serde_saphyr::from_multiple(std::str::from_utf8(&output.stdout).unwrap()).unwrap();
    objects
}

/// The template of a Deployment's pods.
fn deployment<'a>(objects: &'a [Value], name: &str) -> &'a Value {
    let found = objects
        .iter()
        .find(|object| object["kind"] == "Deployment" && object["metadata"]["name"] == name);
    &found.unwrap()["spec"]["template"]
}

fn container<'a>(pod: &'a Value, list: &str, name: &str) -> &'a Value {
    named(&pod["spec"][list], name)
}

fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    let found = list.as_array().unwrap().iter();
    let mut found = found.filter(|item| item["name"] == name);
    let first = found.next().unwrap_or_else(|| panic!("{name} in {list}"));
    assert!(found.next().is_none(), "{name} is there twice");
    first
}

/// The words that a container starts a program with, its variables as the flags that clap takes them for: a process
/// that runs other tests cannot set its own environment.
fn command_line<C: CommandFactory>(container: &Value, program: &str) -> Vec<String> {
    let variables = environment(container);
    let words = |list: &str| container[list].as_array().into_iter().flatten();
    let mut words = words("command").chain(words("args"));
    assert_eq!(words.next().unwrap(), program);
    let mut line = vec![program.to_owned()];
    line.extend(words.map(|word| expanded(word.as_str().unwrap(), &variables)));
    let command = C::command();
    let subcommand = command.find_subcommand(&line[1]).unwrap();
    for (name, value) in &variables {
        let argument = subcommand
            .get_arguments()
            .find(|argument| argument.get_env().is_some_and(|env| env == name.as_str()));
        let Some(argument) = argument else {
            // For others' expansion only.
            assert!(
                ["POD_NAME", "POD_NAMESPACE"].contains(&name.as_str()),
                "nobody reads {name}"
            );
            continue;
        };
        let flag = argument.get_long().unwrap();
        if matches!(argument.get_action(), ArgAction::SetTrue) {
            assert_eq!(value, "true", "{name}");
            line.push(format!("--{flag}"));
        } else {
            line.push(format!("--{flag}={value}"));
        }
    }
    line
}

/// The variables of a container as the kubelet sets them, in their order.
fn environment(container: &Value) -> Vec<(String, String)> {
    let mut variables: Vec<(String, String)> = Vec::new();
    for variable in container["env"].as_array().into_iter().flatten() {
        let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
            Some("metadata.name") => POD_NAME.to_owned(),
            Some("metadata.namespace") => match container["name"].as_str() {
                Some(cluster::PROXY_CONTAINER) => "shop".to_owned(),
                _ => cluster::SYSTEM_NAMESPACE.to_owned(),
            },
            Some(other) => panic!("{other} is not known to this test"),
            None => expanded(variable["value"].as_str().unwrap(), &variables),
        };
        variables.push((variable["name"].as_str().unwrap().to_owned(), value));
    }
    variables
}

/// `$(NAME)` is a variable that was set before, or else itself; `$$` is a dollar sign.
fn expanded(text: &str, variables: &[(String, String)]) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
            let known = variables.iter().rfind(|(known, _)| known == name);
            match known {
                Some((_, value)) => expanded.push_str(value),
                None => expanded.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            expanded.push('$');
        }
    }
    expanded + rest
}

const POD_NAME: &str = "web-0";
const CONTROL: [&str; 3] = [
    "palisade-control.palisade-system.svc:15012",
    "10.96.0.9:15012",
    "[fd96::9]:15012",
];
