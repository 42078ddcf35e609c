//! A frame's header read as a request: its id, its op, and arguments asked for by name and type.

use serde_json::{Map, Value};

use crate::failure::{Failure, Outcome};
use crate::frames::Frame;

const ID_LIMIT: u64 = 1 << 53;

pub struct Request {
    pub id: u64,
    pub op: String,
    arguments: Map<String, Value>,
    pub frame: Frame,
}

impl Request {
    /// The reason is for the `protocol` error that ends the conversation.
    pub fn parse(frame: Frame) -> Result<Request, &'static str> {
        let Ok(Value::Object(mut arguments)) = serde_json::from_slice(frame.header()) else {
            return Err("a header is no JSON object");
        };
        let id = match arguments.get("id").and_then(Value::as_u64) {
            Some(id) if (1..ID_LIMIT).contains(&id) => id,
            _ => return Err("a request's id is no positive integer below 2^53"),
        };
        let Some(Value::String(op)) = arguments.remove("op") else {
            return Err("a request has no op");
        };
        Ok(Request {
            id,
            op,
            arguments,
            frame,
        })
    }

    pub fn body(&self) -> &[u8] {
        self.frame.body()
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.arguments.get(name).filter(|value| !value.is_null())
    }

    pub fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    pub fn text(&self, name: &str) -> Outcome<&str> {
        self.optional_text(name)?.ok_or_else(|| missing(name))
    }

    pub fn optional_text(&self, name: &str) -> Outcome<Option<&str>> {
        match self.value(name) {
            None => Ok(None),
            // A zero byte would cut a path or an argument short on its way to the kernel.
            Some(Value::String(text)) if !text.contains('\0') => Ok(Some(text)),
            Some(_) => Err(Failure::invalid(format!("{name} must be a string without zero bytes"))),
        }
    }

    pub fn integer(&self, name: &str) -> Outcome<u64> {
        self.optional_integer(name)?.ok_or_else(|| missing(name))
    }

    pub fn optional_integer(&self, name: &str) -> Outcome<Option<u64>> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) if number < ID_LIMIT => Ok(Some(number)),
                _ => Err(Failure::invalid(format!("{name} must be an integer from 0 to 2^53"))),
            },
        }
    }

    /// Nanoseconds since 1970 need all 63 bits.
    pub fn optional_signed(&self, name: &str) -> Outcome<Option<i64>> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => value
                .as_i64()
                .map(Some)
                .ok_or_else(|| Failure::invalid(format!("{name} must be an integer of 64 bits"))),
        }
    }

    pub fn flag(&self, name: &str) -> Outcome<bool> {
        match self.value(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(Failure::invalid(format!("{name} must be true or false"))),
        }
    }

    pub fn texts(&self, name: &str) -> Outcome<Vec<String>> {
        let Some(value) = self.value(name) else {
            return Ok(Vec::new());
        };
        let wrong = || Failure::invalid(format!("{name} must be a list of strings without zero bytes"));
        let list = value.as_array().ok_or_else(wrong)?;
        list.iter()
            .map(|item| plain(item).map(str::to_owned).ok_or_else(wrong))
            .collect()
    }

    /// An object of strings, as used for environments: names are not empty and hold no `=`.
    pub fn variables(&self, name: &str) -> Outcome<Option<Vec<(String, String)>>> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let wrong = || Failure::invalid(format!("{name} must be an object of strings without zero bytes"));
        let object = value.as_object().ok_or_else(wrong)?;
        let mut variables = Vec::with_capacity(object.len());
        for (key, value) in object {
            if key.is_empty() || key.contains(['=', '\0']) {
                return Err(Failure::invalid(format!(
                    "'{key}' cannot be the name of an environment variable"
                )));
            }
            variables.push((key.clone(), plain(value).ok_or_else(wrong)?.to_owned()));
        }
        Ok(Some(variables))
    }

    /// An object of two small integers: a terminal's size.
    pub fn size(&self, object: Option<&str>) -> Outcome<(u16, u16)> {
        let holder = match object {
            Some(name) => self.value(name).and_then(Value::as_object),
            None => Some(&self.arguments),
        };
        let side = |name: &str| {
            let number = holder.and_then(|holder| holder.get(name)).and_then(Value::as_u64);
            number
                .and_then(|number| u16::try_from(number).ok())
                .ok_or_else(|| Failure::invalid(format!("{name} must be an integer from 0 to 65535")))
        };
        Ok((side("cols")?, side("rows")?))
    }
}

fn plain(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.contains('\0'))
}

fn missing(name: &str) -> Failure {
    Failure::invalid(format!("{name} is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::{Decoder, Event, SYNC, encode};

    pub fn request(header: &str) -> Result<Request, &'static str> {
        let mut bytes = SYNC.to_vec();
        encode(&mut bytes, header.as_bytes(), &[b"body"]);
        let mut decoder = Decoder::new();
        decoder.space()[..bytes.len()].copy_from_slice(&bytes);
        decoder.filled(bytes.len());
        decoder.next().unwrap();
        let Ok(Some(Event::Frame(frame))) = decoder.next() else {
            panic!("no frame")
        };
        Request::parse(frame)
    }

    #[test]
    fn a_request_without_a_proper_id_or_op_is_malformed() {
        for header in [
            "",
            "[]",
            "{}",
            "{\"id\":1}",
            "{\"id\":0,\"op\":\"x\"}",
            "{\"id\":-1,\"op\":\"x\"}",
            "{\"id\":1.5,\"op\":\"x\"}",
            "{\"id\":9007199254740992,\"op\":\"x\"}",
            "{\"id\":\"1\",\"op\":\"x\"}",
            "{\"id\":1,\"op\":2}",
            "{\"id\":1,\"op\":\"x\"",
        ] {
            assert!(request(header).is_err(), "{header}");
        }
        assert!(request(&format!("{{\"id\":1,\"op\":\"x\",\"deep\":{}", "[".repeat(10_000))).is_err());
    }

    #[test]
    fn arguments_are_checked_by_type() {
        let request = request(
            r#"{"id":7,"op":"x","t":"a","n":3,"neg":-1,"z":"a\u0000b","l":["a",1],"e":{"A=B":"c"},"ok":{"A":"b"},"null":null}"#,
        )
        .unwrap();
        assert_eq!(
            (request.id, request.op.as_str(), request.body()),
            (7, "x", &b"body"[..])
        );
        assert_eq!(request.text("t"), Ok("a"));
        assert_eq!(request.integer("n"), Ok(3));
        assert_eq!(request.optional_text("null"), Ok(None));
        assert_eq!(request.variables("ok"), Ok(Some(vec![("A".into(), "b".into())])));
        assert!(request.text("n").is_err() && request.text("absent").is_err() && request.text("z").is_err());
        assert!(request.integer("neg").is_err() && request.integer("t").is_err());
        assert!(request.texts("l").is_err() && request.variables("e").is_err() && request.flag("t").is_err());
    }
}
