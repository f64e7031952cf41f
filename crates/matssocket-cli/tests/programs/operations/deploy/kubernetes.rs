//! `kubernetes.yaml`.

use std::time::Duration;

use yaml_rust2::{Yaml, YamlLoader};

use super::super::serving::serve;
use super::{Settings, file, time};
use matssocket_testing::program::http;

/// The object of this kind.
fn object(kind: &str) -> Yaml {
    let objects = YamlLoader::load_from_str(&file("kubernetes.yaml")).expect("YAML");
    let mut of_kind = objects
        .into_iter()
        .filter(|it| it["kind"].as_str() == Some(kind));
    let (object, another) = (of_kind.next(), of_kind.next());
    assert!(another.is_none(), "one {kind}");
    object.unwrap_or_else(|| panic!("no {kind}"))
}

fn container() -> Yaml {
    object("Deployment")["spec"]["template"]["spec"]["containers"][0].clone()
}

fn text(yaml: &Yaml) -> &str {
    yaml.as_str().unwrap_or_else(|| panic!("no text: {yaml:?}"))
}

fn seconds(yaml: &Yaml) -> Duration {
    let seconds = yaml.as_i64().and_then(|it| it.try_into().ok());
    Duration::from_secs(seconds.unwrap_or_else(|| panic!("no number: {yaml:?}")))
}

/// What the container starts, with what the Secret has in its place.
fn settings_on_kubernetes() -> Settings {
    let (container, secret) = (container(), object("Secret"));
    let command: Vec<&str> = container["command"]
        .as_vec()
        .expect("a list")
        .iter()
        .map(text)
        .collect();
    let environment = container["env"]
        .as_vec()
        .expect("a list")
        .iter()
        .map(|variable| {
            let reference = &variable["valueFrom"]["secretKeyRef"];
            let value = match reference.is_badvalue() {
                true => &variable["value"],
                false => {
                    assert_eq!(reference["name"], secret["metadata"]["name"]);
                    &secret["stringData"][text(&reference["key"])]
                }
            };
            (text(&variable["name"]).to_owned(), text(value).to_owned())
        });
    Settings::of(&command, &environment.collect())
}

#[test]
fn a_pod_has_time_to_stop() {
    let settings = settings_on_kubernetes();
    let (pod, container) = (
        &object("Deployment")["spec"]["template"]["spec"],
        container(),
    );
    let grace = seconds(&pod["terminationGracePeriodSeconds"]);
    assert!(
        grace >= settings.longest_stop(),
        "{:?}",
        settings.longest_stop()
    );
    let probe = &container["readinessProbe"];
    let failures = probe["failureThreshold"].as_i64().expect("a number");
    let noticed = seconds(&probe["periodSeconds"]) * failures.try_into().expect("small");
    assert!(settings.time("stop_delay") >= noticed, "{noticed:?}");
}

#[test]
fn what_belongs_together_on_kubernetes_finds_each_other() {
    let (deployment, service, ingress) =
        (object("Deployment"), object("Service"), object("Ingress"));
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    let spread = &deployment["spec"]["template"]["spec"]["topologySpreadConstraints"][0];
    assert_eq!(deployment["spec"]["selector"]["matchLabels"], *labels);
    assert_eq!(spread["labelSelector"]["matchLabels"], *labels);
    assert_eq!(
        object("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        *labels
    );
    assert_eq!(service["spec"]["selector"], *labels);

    let (container, settings) = (container(), settings_on_kubernetes());
    let (port, listen) = (&container["ports"][0], settings.text("listen"));
    let number = port["containerPort"].as_i64().expect("a port");
    assert!(listen.ends_with(&format!(":{number}")), "{listen}");
    assert_eq!(service["spec"]["ports"][0]["targetPort"], port["name"]);
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert_eq!(container[probe]["httpGet"]["port"], port["name"]);
    }

    let backend = &ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"];
    assert_eq!(backend["name"], service["metadata"]["name"]);
    assert_eq!(backend["port"]["name"], service["spec"]["ports"][0]["name"]);
    let annotations = &ingress["metadata"]["annotations"];
    assert_eq!(
        annotations["nginx.org/websocket-services"],
        service["metadata"]["name"]
    );
    for timeout in ["proxy-read-timeout", "proxy-send-timeout"] {
        let f5 = text(&annotations[&*format!("nginx.org/{timeout}")]);
        assert!(time(f5) > settings.time("ping_interval") * 2);
        let number = text(&annotations[&*format!("nginx.ingress.kubernetes.io/{timeout}")]);
        assert_eq!(f5, format!("{number}s"));
    }
}

#[test]
fn the_probes_ask_for_pages_that_exist() {
    let directory = tempfile::tempdir().expect("a directory");
    let (served, container) = (serve(directory.path(), &[]), container());
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let path = text(&container[probe]["httpGet"]["path"]);
        assert_eq!(
            http(served.port, &format!("GET {path}"), &[]).status,
            200,
            "{path}"
        );
    }
}
