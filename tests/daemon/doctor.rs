//! `agentctl doctor` in worlds that are broken in one way each: exactly the right finding leads, and its fix, applied to
//! the letter, cures it.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use aws_credential_agent::platform::clock::Clock;

use crate::agent::LIMIT;
use crate::behind::{Behind, check};
use crate::support::process::run;
use crate::support::proxy::{Behaviour, InspectingProxy, Leaf, Stage};

/// What the leading finding must be.
struct Expected {
    first: &'static str,
    code: i32,
    message: &'static str,
    fix: &'static str,
}

/// Looks; the machine may have much else to do, so the aim of 3 s is told and a multiple of it is the limit.
fn examined(behind: &Behind) -> (Value, i32) {
    let began = Clock.tick();
    let (report, code) = behind.doctor(&["network"]);
    eprintln!("{} after {:?}", report["first"], Clock.tick().since(began));
    assert!(Clock.tick().since(began) < Duration::from_secs(10), "{:?}: {report:#}", Clock.tick().since(began));
    (report, code)
}

/// Broken, the finding leads; with its fix applied all is well.
fn cured(mut behind: Behind, expected: &Expected, cure: impl FnOnce(&mut Behind, &str)) -> Behind {
    let (report, code) = examined(&behind);
    assert_eq!((report["first"].as_str(), code), (Some(expected.first), expected.code), "{report:#}");
    let finding = check(&report, expected.first);
    let (message, fix) = (finding["message"].as_str().unwrap(), finding["fix"].as_str().unwrap().to_owned());
    assert!(message.contains(expected.message), "{message}");
    assert!(fix.contains(expected.fix), "{fix}");
    cure(&mut behind, &fix);
    let (report, code) = examined(&behind);
    assert_eq!((&report["first"], code), (&Value::Null, 0), "{report:#}");
    behind
}

fn set_proxy(behind: &mut Behind, url: &str) {
    for name in ["HTTPS_PROXY", "https_proxy"] {
        behind.agent.home.set(name, url);
    }
}

#[test]
fn a_healthy_world_has_nothing_to_mend() {
    let behind = Behind::new().trusted();
    behind.agent.credentials("dev-sso");
    let (report, code) = examined(&behind);
    assert_eq!((&report["first"], code), (&Value::Null, 0), "{report:#}");
    assert_eq!(report["schema"], 1);
    for finding in report["checks"].as_array().unwrap() {
        assert!(["ok", "note"].contains(&finding["severity"].as_str().unwrap()), "{finding}");
    }
    behind.agent.ctl(&["daemon", "stop"]).expect_success();
    let (report, code) = behind.doctor(&[]);
    assert_eq!((&report["first"], code), (&Value::Null, 0), "it needs no agent: {report:#}");
    assert_eq!(check(&report, "agent")["severity"], "note");
}

#[test]
fn a_ca_that_is_not_trusted() {
    let behind = Behind::new();
    let anchor = behind.agent.home.path().join(".mitmproxy/mitmproxy-ca-cert.pem");
    fs::create_dir_all(anchor.parent().unwrap()).unwrap();
    behind.proxy.write_ca(&anchor);
    let expected = Expected {
        first: "tls",
        code: 13,
        message: "presents a certificate by 'Zscaler Root CA', which is not trusted here",
        fix: "set ca_bundle = ",
    };
    let (report, _) = examined(&behind);
    let tls = check(&report, "tls");
    assert!(tls["evidence"].to_string().contains("3 hosts present certificates by 'Zscaler Root CA'"), "{tls:#}");
    assert!(check(&report, "trust")["fix"].to_string().contains("NODE_EXTRA_CA_CERTS="), "{report:#}");
    // The agent's own cure, then those of the tools.
    let (report, _) = examined(&behind);
    let fix = check(&report, "tls")["fix"].as_str().unwrap().to_owned();
    assert!(fix.starts_with(expected.fix), "{fix}");
    let (line, file) = fix.trim_start_matches("set ").split_once(" in ").unwrap();
    assert_eq!(std::path::Path::new(file), behind.agent.config_toml());
    behind.agent.write_settings(&format!("{line}\n"));
    let expected = Expected {
        first: "trust",
        code: 0,
        message: "would refuse what is presented here",
        fix: "set NODE_EXTRA_CA_CERTS=",
    };
    let behind = cured(behind, &expected, |behind, fix| {
        for assignment in fix.split("; ") {
            let (name, value) = assignment.trim_start_matches("set ").split_once('=').unwrap();
            behind.agent.home.set(name, value);
        }
    });
    behind.agent.credentials("dev-sso");
}

#[test]
fn a_proxy_that_asks_for_a_password() {
    let behind = Behind::new().trusted();
    let accepts = Some("Basic dXNlcjpodW50ZXIy".to_owned());
    behind.proxy.set(Behaviour::AskCredentials { schemes: vec!["Basic realm=\"corp\"".into()], accepts });
    let expected = Expected {
        first: "proxy",
        code: 13,
        message: "the proxy asks for credentials before it lets us reach oidc.",
        fix: "put user and password into HTTPS_PROXY",
    };
    let mut behind = cured(behind, &expected, |behind, _| {
        let url = behind.proxy.url().replace("http://", "http://user:hunter2@");
        set_proxy(behind, &url);
    });
    // And one that is wrong is sent once, not once for each host.
    let url = behind.proxy.url().replace("http://", "http://user:hunter3@");
    set_proxy(&mut behind, &url);
    let sent = |behind: &Behind| behind.proxy.seen().iter().filter(|c| c.proxy_authorization.is_some()).count();
    let before = sent(&behind);
    let (report, _) = examined(&behind);
    let proxy = check(&report, "proxy");
    assert!(proxy["message"].to_string().contains("refuses the user and password that we have for it"), "{report:#}");
    assert!(!report.to_string().contains("hunter"));
    assert_eq!(sent(&behind) - before, 1);
}

#[test]
fn a_proxy_that_wants_what_no_url_holds() {
    let behind = Behind::new().trusted();
    let local = InspectingProxy::start(behind.agent.fake.url().trim_start_matches("http://").parse().unwrap());
    behind.proxy.set(Behaviour::AskCredentials { schemes: vec!["NTLM".into(), "Negotiate".into()], accepts: None });
    let expected = Expected {
        first: "proxy",
        code: 13,
        message: "the proxy asks for NTLM or Negotiate before",
        fix: "run a local proxy that can (px, cntlm) and name that in HTTPS_PROXY",
    };
    let path = behind.agent.home.path().join("corp.pem");
    cured(behind, &expected, |behind, _| {
        local.write_ca(&path);
        set_proxy(behind, &local.url());
    });
}

#[test]
fn a_proxy_that_does_not_let_aws_through() {
    for (status, message) in [(403, "the proxy refuses a connection to oidc."), (502, "the proxy does not reach oidc.")]
    {
        let behind = Behind::new().trusted();
        behind.proxy.set(Behaviour::Refuse(status));
        let expected = Expected { first: "proxy", code: 13, message, fix: "*.amazonaws.com" };
        cured(behind, &expected, |behind, _| behind.proxy.set(Behaviour::Inspect));
    }
}

#[test]
fn a_network_that_wants_a_sign_in() {
    for page in
        [Behaviour::redirect("https://portal.hotel.example/"), Behaviour::page(200), Behaviour::network_sign_in()]
    {
        let behind = Behind::new().trusted();
        behind.proxy.set(page);
        let expected = Expected {
            first: "aws",
            code: 13,
            message: "oidc.eu-west-1.amazonaws.com",
            fix: "sign in to the network in a browser, then try again",
        };
        cured(behind, &expected, |behind, _| behind.proxy.set(Behaviour::Inspect));
    }
}

#[test]
fn certificates_that_are_wrong() {
    for (leaf, message, fix) in [
        (Leaf::OtherHost, "for another host", "in between"),
        (Leaf::NotYetValid, "not valid at this machine's time", "check this machine's clock"),
        (Leaf::Expired, "not valid at this machine's time", "check this machine's clock"),
        (Leaf::AuthorityItself, "which is an authority's own", "ask who runs the proxy"),
    ] {
        let behind = Behind::new().trusted();
        behind.proxy.set(Behaviour::Leaf(leaf));
        let expected = Expected { first: "tls", code: 13, message, fix };
        cured(behind, &expected, |behind, _| behind.proxy.set(Behaviour::Inspect));
    }
}

#[test]
fn a_proxy_that_is_not_there() {
    let mut behind = Behind::new().trusted();
    let gone = behind.agent.fake.refusing_url();
    set_proxy(&mut behind, &gone);
    let expected =
        Expected { first: "connection", code: 14, message: "connection refused", fix: "start that proxy, or correct" };
    cured(behind, &expected, |behind, _| {
        let url = behind.proxy.url();
        set_proxy(behind, &url);
    });
}

/// A name that no resolver needs to be asked about: a label has 63 letters at most.
#[test]
fn a_proxy_whose_name_is_not_found() {
    let mut behind = Behind::new().trusted();
    set_proxy(&mut behind, &format!("http://{}.example:3128", "proxy".repeat(13)));
    let expected = Expected { first: "dns", code: 14, message: "cannot reach", fix: "start that proxy, or correct" };
    cured(behind, &expected, |behind, _| {
        let url = behind.proxy.url();
        set_proxy(behind, &url);
    });
}

#[test]
fn proxies_that_cannot_be_used() {
    for (value, message) in [("socks5://127.0.0.1:1080", "is a SOCKS proxy"), ("http://127.0.0.1/x.pac", "PAC script")]
    {
        let mut behind = Behind::new().trusted();
        set_proxy(&mut behind, value);
        let expected = Expected { first: "settings", code: 12, message, fix: "proxy to http://host:port" };
        cured(behind, &expected, |behind, _| {
            let url = behind.proxy.url();
            set_proxy(behind, &url);
        });
    }
}

#[test]
fn a_clock_that_is_wrong() {
    let behind = Behind::new().trusted();
    behind.agent.fake.set_clock_offset(-600);
    let expected = Expected { first: "clock", code: 16, message: " ahead of AWS's", fix: "set the clock" };
    cured(behind, &expected, |behind, _| behind.agent.fake.set_clock_offset(0));
}

#[test]
fn an_agent_that_was_started_without_the_proxy() {
    let mut behind = Behind::new().trusted();
    let (right, gone) = (behind.proxy.url(), behind.agent.fake.refusing_url());
    set_proxy(&mut behind, &gone);
    behind.agent.ctl(&["daemon", "start"]).expect_success();
    set_proxy(&mut behind, &right);
    let expected = Expected {
        first: "same-network",
        code: 14,
        message: "agentd does not reach AWS, while this shell does",
        fix: "agentctl daemon restart",
    };
    cured(behind, &expected, |behind, _| drop(behind.agent.ctl(&["daemon", "restart"]).expect_success()));
}

#[test]
fn sts_alone_is_blocked() {
    let behind = Behind::new().trusted();
    behind.proxy.set_for("sts.", Behaviour::Refuse(403));
    let expected = Expected {
        first: "proxy",
        code: 0,
        message: "STS: Claude Code asks it before awsAuthRefresh",
        fix: "ask for *.amazonaws.com to be allowed on the proxy",
    };
    cured(behind, &expected, |behind, _| behind.proxy.set(Behaviour::Inspect));
}

#[test]
fn whoever_says_nothing_is_not_waited_for() {
    let behind = Behind::new().trusted();
    for stage in [Stage::Accept, Stage::Handshake, Stage::Request] {
        behind.proxy.set(Behaviour::BlackHole(stage));
        let (report, code) = examined(&behind);
        assert_eq!(code, 17, "{report:#}");
        let finding = check(&report, report["first"].as_str().unwrap());
        assert!(finding["message"].to_string().contains("no answer from oidc."), "{finding:#}");
    }
}

#[test]
fn what_is_typed_wrongly_is_told() {
    let behind = Behind::new();
    let mut command = behind.agent.command(&["doctor", "netwrk"]);
    command.env("AGENTCTL_NO_AUTOSTART", "1");
    let finished = run(command, LIMIT);
    assert_eq!(finished.code(), 2);
    assert!(finished.stderr.contains("there is no check 'netwrk'; did you mean network?"), "{}", finished.stderr);
}
