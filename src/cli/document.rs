//! Reading the union document of the agent: nothing is printed that was not understood as a whole.

use super::outcome::Problem;
use crate::api::process_json;
use crate::core::credential::RoleCredentials;

/// Reads the document ([`process_json::parse`]).
///
/// # Errors
/// Class `agent-unreachable`: what answered is not (this version of) the agent. The text never quotes the document.
pub fn parse(body: &[u8]) -> Result<RoleCredentials, Problem> {
    process_json::parse(body).map_err(|what| {
        Problem::unreachable(format!("the agent's answer cannot be used: {what}"), "agentctl daemon restart")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::process_json::union_document;
    use crate::core::time::Timestamp;

    fn sample() -> RoleCredentials {
        RoleCredentials {
            access_key_id: "ASIAEXAMPLE".to_owned(),
            secret_access_key: "s/e+c\"ret".into(),
            session_token: "tok'en$".into(),
            expires_at: Timestamp::from_secs(1_592_388_128),
        }
    }

    #[test]
    fn reads_what_the_agent_writes() {
        assert_eq!(parse(union_document(&sample()).as_bytes()).unwrap(), sample());
    }

    #[test]
    fn refuses_every_half_document_without_quoting_it() {
        let good = union_document(&sample()).to_string();
        let bad = [
            String::new(),
            "{}".to_owned(),
            "<html>".to_owned(),
            good[..good.len() - 1].to_owned(),
            format!("{good}{good}"),
            good.replace("\"Version\":1", "\"Version\":2"),
            good.replacen("ASIAEXAMPLE", "ASIAOTHER", 1),
            good.replace("tok'en$", ""),
            good.replace("tok'en$", "tok\\nen"),
            good.replace("2020-06-17T10:02:08Z", "soon"),
        ];
        for text in bad {
            let line = parse(text.as_bytes()).unwrap_err().line().unwrap();
            assert!(line.contains("cannot be used") && !line.contains("tok"), "{line}");
        }
    }
}
