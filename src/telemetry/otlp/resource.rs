// SPDX-License-Identifier: Apache-2.0
//! Who sends: what every OTLP request begins with.

use super::protobuf::Message;

/// The name of what makes the spans and metrics.
const SCOPE: &str = "jobbie";

/// This process as OpenTelemetry describes it.
#[derive(Clone, Debug)]
pub struct Resource {
    /// The identity of the data directory.
    pub node_id: u64,
}

impl Resource {
    /// A request for one signal: the resource, one scope, and in it `items`. The numbers of these fields are the
    /// same for traces and metrics.
    pub fn request(&self, items: impl Iterator<Item = Message>) -> Vec<u8> {
        let mut resource = Message::default();
        for (key, value) in [
            ("service.name", "jobbie"),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("service.instance.id", &format!("{:016x}", self.node_id)),
        ] {
            resource.message(1, &text(key, value));
        }
        let mut scope = Message::default();
        scope.bytes(1, SCOPE);
        scope.bytes(2, env!("CARGO_PKG_VERSION"));
        let mut scoped = Message::default();
        scoped.message(1, &scope);
        items.for_each(|item| scoped.message(2, &item));
        let mut all = Message::default();
        all.message(1, &resource);
        all.message(2, &scoped);
        let mut request = Message::default();
        request.message(1, &all);
        request.into_bytes()
    }
}

/// An attribute with text.
pub fn text(key: &str, value: &str) -> Message {
    let mut any = Message::default();
    any.element(1, value.as_bytes());
    attribute(key, &any)
}

/// An attribute with a number.
pub fn number(key: &str, value: i64) -> Message {
    let mut any = Message::default();
    any.chosen_number(3, value);
    attribute(key, &any)
}

fn attribute(key: &str, any: &Message) -> Message {
    let mut pair = Message::default();
    pair.bytes(1, key);
    pair.message(2, any);
    pair
}
