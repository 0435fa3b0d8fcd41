//! The descriptions of all messages and services: what reflection gives away, and what a message is printed by.

use std::sync::LazyLock;

use prost::Message;

/// A file as it travels, and what it says as far as anybody here asks.
pub struct File {
    pub bytes: Vec<u8>,
    pub described: FileDescription,
}

#[derive(Clone, PartialEq, Message)]
pub struct FileDescription {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub package: String,
    #[prost(string, repeated, tag = "3")]
    pub dependency: Vec<String>,
    #[prost(message, repeated, tag = "4")]
    pub message_type: Vec<MessageDescription>,
    #[prost(message, repeated, tag = "5")]
    pub enum_type: Vec<EnumDescription>,
    #[prost(message, repeated, tag = "6")]
    pub service: Vec<ServiceDescription>,
}

#[derive(Clone, PartialEq, Message)]
pub struct MessageDescription {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, repeated, tag = "2")]
    pub field: Vec<FieldDescription>,
    #[prost(message, repeated, tag = "3")]
    pub nested_type: Vec<Self>,
    #[prost(message, repeated, tag = "4")]
    pub enum_type: Vec<EnumDescription>,
    #[prost(message, repeated, tag = "8")]
    pub oneof_decl: Vec<OneofDescription>,
    #[prost(message, optional, tag = "7")]
    pub options: Option<MessageOptions>,
}

#[derive(Clone, PartialEq, Message)]
pub struct MessageOptions {
    /// An entry of a map: its key and its value.
    #[prost(bool, tag = "7")]
    pub map_entry: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct FieldDescription {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(int32, tag = "3")]
    pub number: i32,
    #[prost(int32, tag = "4")]
    pub label: i32,
    #[prost(int32, tag = "5")]
    pub kind: i32,
    /// Of a message or an enum, with a dot in front.
    #[prost(string, tag = "6")]
    pub type_name: String,
    /// The choice that it is one of.
    #[prost(int32, optional, tag = "9")]
    pub oneof_index: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct OneofDescription {
    #[prost(string, tag = "1")]
    pub name: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct EnumDescription {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, repeated, tag = "2")]
    pub value: Vec<EnumValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct EnumValue {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(int32, tag = "2")]
    pub number: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct ServiceDescription {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, repeated, tag = "2")]
    pub method: Vec<MethodDescription>,
}

#[derive(Clone, PartialEq, Message)]
pub struct MethodDescription {
    #[prost(string, tag = "1")]
    pub name: String,
    /// What answers it, with a dot in front.
    #[prost(string, tag = "3")]
    pub output_type: String,
}

/// A file set, of which the files are looked at one by one.
#[derive(Clone, PartialEq, Message)]
struct Set {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file: Vec<Vec<u8>>,
}

/// `FieldDescription::label` of what may be there several times.
pub const REPEATED: i32 = 3;

/// All files, unpacked when somebody asks for the first time.
pub fn files() -> &'static [File] {
    static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
        let packed = include_bytes!("../../proto/rust/descriptors.deflate");
        let bytes = miniz_oxide::inflate::decompress_to_vec(packed).unwrap_or_default();
        let set = Set::decode(&bytes[..]).unwrap_or_default();
        let files = set.file.into_iter().filter_map(|bytes| {
            let described = FileDescription::decode(&bytes[..]).ok()?;
            Some(File { bytes, described })
        });
        files.collect()
    });
    &FILES
}

/// The file of this name.
pub fn file(name: &str) -> Option<&'static File> {
    files().iter().find(|file| file.described.name == name)
}

/// The file that describes `symbol`, the full name of a message, an enum, a service or a method.
pub fn file_of(symbol: &str) -> Option<&'static File> {
    files().iter().find(|file| {
        let rest = symbol.strip_prefix(&*file.described.package);
        let rest = rest.and_then(|rest| rest.strip_prefix('.'));
        rest.is_some_and(|rest| file.described.has(rest))
    })
}

/// The full name of the message that answers a method of a service.
pub fn answer_of(service: &str, method: &str) -> Option<&'static str> {
    let file = file_of(service)?;
    let services = file.described.service.iter();
    let mut methods = services
        .filter(|s| {
            service
                .strip_suffix(&*s.name)
                .is_some_and(|r| r.ends_with('.'))
        })
        .flat_map(|s| &s.method);
    let found = methods.find(|m| m.name == method)?;
    Some(found.output_type.trim_start_matches('.'))
}

/// The message of this full name.
pub fn message(name: &str) -> Option<&'static MessageDescription> {
    files().iter().find_map(|file| {
        let rest = name.strip_prefix(&*file.described.package)?;
        let mut parts = rest.strip_prefix('.')?.split('.');
        let mut found = named(&file.described.message_type, parts.next()?)?;
        for part in parts {
            found = named(&found.nested_type, part)?;
        }
        Some(found)
    })
}

/// The enum of this full name.
pub fn enumeration(name: &str) -> Option<&'static EnumDescription> {
    let (outer, last) = name.rsplit_once('.')?;
    let is = |e: &&EnumDescription| e.name == last;
    if let Some(message) = message(outer) {
        return message.enum_type.iter().find(is);
    }
    let files = files().iter().filter(|f| f.described.package == outer);
    files.flat_map(|f| &f.described.enum_type).find(is)
}

fn named<'m>(messages: &'m [MessageDescription], name: &str) -> Option<&'m MessageDescription> {
    messages.iter().find(|message| message.name == name)
}

impl FileDescription {
    /// Whether something of this name, within the package, is described here.
    fn has(&self, name: &str) -> bool {
        let (first, rest) = match name.split_once('.') {
            Some((first, rest)) => (first, Some(rest)),
            None => (name, None),
        };
        let service = self.service.iter().find(|service| service.name == first);
        if let Some(service) = service {
            return rest.is_none_or(|rest| service.method.iter().any(|m| m.name == rest));
        }
        if rest.is_none() && self.enum_type.iter().any(|e| e.name == first) {
            return true;
        }
        let message = named(&self.message_type, first);
        message.is_some_and(|message| rest.is_none_or(|rest| message.has(rest)))
    }
}

impl MessageDescription {
    fn has(&self, name: &str) -> bool {
        if self.enum_type.iter().any(|e| e.name == name) {
            return true;
        }
        let (first, rest) = match name.split_once('.') {
            Some((first, rest)) => (first, Some(rest)),
            None => (name, None),
        };
        let nested = named(&self.nested_type, first);
        nested.is_some_and(|nested| rest.is_none_or(|rest| nested.has(rest)))
    }

    pub fn is_map_entry(&self) -> bool {
        self.options
            .as_ref()
            .is_some_and(|options| options.map_entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_is_found_in_the_file_that_describes_it() {
        let found = |symbol: &str| file_of(symbol).map(|file| &*file.described.name);
        let stats = Some("xray/app_stats_command.proto");
        assert_eq!(found("xray.app.stats.command.StatsService"), stats);
        assert_eq!(
            found("xray.app.stats.command.StatsService.QueryStats"),
            stats
        );
        assert_eq!(found("xray.app.stats.command.UserStat"), stats);
        assert_eq!(found("xray.app.stats.command.StatsService.Nothing"), None);
        assert_eq!(
            found("xray.common.geodata.Domain.Type"),
            Some("xray/common_geodata.proto")
        );
        assert_eq!(
            found("v2ray.core.common.net.Network"),
            Some("v2ray/common_net.proto")
        );
        assert_eq!(
            found("grpc.reflection.v1alpha.ServerReflection"),
            Some("grpc/reflection_v1alpha.proto")
        );
        assert_eq!(found("xray"), None);
        assert_eq!(found(""), None);
    }

    #[test]
    fn every_type_that_a_field_has_is_described() {
        let mut fields = 0;
        for file in files() {
            for name in &file.described.dependency {
                assert!(super::file(name).is_some(), "{name}");
            }
            let fields_of = file.described.message_type.iter().flat_map(|m| &m.field);
            for field in fields_of.filter(|field| !field.type_name.is_empty()) {
                fields += 1;
                let name = &field.type_name[1..];
                assert!(
                    message(name).is_some() || enumeration(name).is_some(),
                    "{name}"
                );
            }
        }
        assert!(fields > 50, "{fields}");
    }
}
