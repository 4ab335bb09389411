//! Request bodies: JSON in, values or the reference's 422 out.
//!
//! The reference names each offending member; clients show that text.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use wire::execute::{CreateContext, Execute};

/// What is wrong with a body: the content of a 422.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Complaints(Vec<Value>);

impl Complaints {
    /// The body of the answer.
    pub(super) fn to_json(&self) -> Value {
        json!({ "detail": self.0 })
    }

    fn add(&mut self, kind: &str, path: &[&str], message: &str, input: &Value) {
        let loc: Vec<&str> = ["body"].into_iter().chain(path.iter().copied()).collect();
        self.0.push(json!({ "type": kind, "loc": loc, "msg": message, "input": input }));
    }

    fn text(&mut self, members: &Map<String, Value>, name: &str) -> Option<String> {
        match members.get(name) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(other) => {
                self.add("string_type", &[name], "Input should be a valid string", other);
                None
            }
        }
    }

    fn texts(&mut self, members: &Map<String, Value>, name: &str) -> Option<BTreeMap<String, String>> {
        let given = match members.get(name) {
            None | Some(Value::Null) => return None,
            Some(Value::Object(given)) => given,
            Some(other) => {
                self.add("dict_type", &[name], "Input should be a valid dictionary", other);
                return None;
            }
        };
        let mut texts = BTreeMap::new();
        for (key, value) in given {
            match value {
                // The system's environment can hold neither.
                Value::String(text) if text.contains('\0') || key.is_empty() || key.contains(['=', '\0']) => {
                    self.add("value_error", &[name, key], "Input is no environment variable", value);
                }
                Value::String(text) => _ = texts.insert(key.clone(), text.clone()),
                other => self.add("string_type", &[name, key], "Input should be a valid string", other),
            }
        }
        Some(texts)
    }

    fn or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}

/// Reads the body of `POST /execute`.
pub(super) fn execute(body: &[u8]) -> Result<Execute, Complaints> {
    let members = object(body)?;
    let mut complaints = Complaints::default();
    if members.get("code").is_none_or(Value::is_null) {
        complaints.add("missing", &["code"], "Field required", &Value::Object(members.clone()));
    }
    let execute = Execute {
        code: complaints.text(&members, "code").unwrap_or_default(),
        context_id: complaints.text(&members, "context_id"),
        language: complaints.text(&members, "language"),
        env_vars: complaints.texts(&members, "env_vars"),
    };
    complaints.or(execute)
}

/// Reads the body of `POST /contexts`; an empty one asks for the defaults.
pub(super) fn create_context(body: &[u8]) -> Result<CreateContext, Complaints> {
    let members = if body.is_empty() { Map::new() } else { object(body)? };
    let mut complaints = Complaints::default();
    let create = CreateContext {
        language: complaints.text(&members, "language"),
        cwd: complaints.text(&members, "cwd"),
    };
    complaints.or(create)
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Complaints> {
    let mut complaints = Complaints::default();
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => return Ok(members),
        Ok(other) => {
            let message = "Input should be a valid dictionary or object to extract fields from";
            complaints.add("model_attributes_type", &[], message, &other);
        }
        Err(error) => complaints.add("json_invalid", &[], &format!("JSON decode error: {error}"), &json!({})),
    }
    Err(complaints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_are_absent() {
        let body = br#"{"code":"1","context_id":null,"language":null,"env_vars":null,"more":1}"#;
        assert_eq!(execute(body), Ok(Execute { code: "1".into(), ..Execute::default() }));
        assert_eq!(create_context(b""), Ok(CreateContext::default()));
    }

    #[test]
    fn each_bad_member_is_named() {
        for (body, kind, loc) in [
            (&b"{"[..], "json_invalid", json!(["body"])),
            (b"[]", "model_attributes_type", json!(["body"])),
            (b"{}", "missing", json!(["body", "code"])),
            (br#"{"code":1}"#, "string_type", json!(["body", "code"])),
            (br#"{"code":"","env_vars":[]}"#, "dict_type", json!(["body", "env_vars"])),
            (br#"{"code":"","env_vars":{"a":1}}"#, "string_type", json!(["body", "env_vars", "a"])),
            (br#"{"code":"","env_vars":{"a=":"1"}}"#, "value_error", json!(["body", "env_vars", "a="])),
        ] {
            let complaints = execute(body).expect_err("a complaint").to_json();
            assert_eq!(complaints["detail"][0]["type"], kind);
            assert_eq!(complaints["detail"][0]["loc"], loc);
        }
    }
}
