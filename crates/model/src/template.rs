//! How users name templates: `[namespace/]alias[:tag]`, in any case.

use std::fmt;
use std::str::FromStr;

/// The text does not follow the grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid template ID: {0}")]
pub struct InvalidTemplateRef(pub String);

/// A template's name without a tag; lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TemplateName {
    /// The team slug, when one was given.
    pub namespace: Option<String>,
    /// The alias, or a template id: a bare name can be either.
    pub alias: String,
}

/// What a create names: a template and, perhaps, one of its tags or builds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TemplateRef {
    /// The template.
    pub name: TemplateName,
    /// A tag or a build id; `None` is the tag `default`.
    pub tag: Option<String>,
}

fn is_name(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

/// E2B's own names have no dots. Ours may, since scripts ask for `python3.11`.
fn is_alias(text: &str) -> bool {
    text.len() <= 128 && text.split('.').all(is_name)
}

fn is_tag(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
}

impl FromStr for TemplateRef {
    type Err = InvalidTemplateRef;

    /// Trims and lower-cases before it looks; `:default` is the same as no tag.
    fn from_str(text: &str) -> Result<Self, InvalidTemplateRef> {
        let invalid = || InvalidTemplateRef(text.chars().take(128).collect());
        let lower = text.trim().to_ascii_lowercase();
        let (name, tag) = match lower.split_once(':') {
            Some((name, tag)) => (name, Some(tag)),
            None => (lower.as_str(), None),
        };
        let (namespace, alias) = match name.split_once('/') {
            Some((namespace, alias)) => (Some(namespace), alias),
            None => (None, name),
        };
        if !is_alias(alias) || !namespace.is_none_or(is_name) || !tag.is_none_or(is_tag) {
            return Err(invalid());
        }
        Ok(Self {
            name: TemplateName { namespace: namespace.map(str::to_owned), alias: alias.to_owned() },
            tag: tag.filter(|tag| *tag != "default").map(str::to_owned),
        })
    }
}

impl fmt::Display for TemplateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.alias),
            None => f.write_str(&self.alias),
        }
    }
}

impl fmt::Display for TemplateRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        self.tag.as_ref().map_or(Ok(()), |tag| write!(f, ":{tag}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_every_form() {
        let full: TemplateRef = " Team/My_App:v1.2 ".parse().unwrap();
        assert_eq!(full.to_string(), "team/my_app:v1.2");
        let bare: TemplateRef = "Base:default".parse().unwrap();
        assert_eq!((bare.name.alias.as_str(), bare.tag), ("base", None));
        let dotted: TemplateRef = "Python3.11:v1".parse().unwrap();
        assert_eq!((dotted.name.alias.as_str(), dotted.tag.as_deref()), ("python3.11", Some("v1")));
        for bad in ["", "/x", "x/", "a/b/c", "a:b:c", "x:", "ä", "a b", ".a", "a.", "a..b", "a.b/c"] {
            assert!(bad.parse::<TemplateRef>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_back(text in "[a-zA-Z0-9_/:. -]{0,40}") {
            if let Ok(first) = text.parse::<TemplateRef>() {
                prop_assert_eq!(first.to_string().parse::<TemplateRef>().unwrap(), first);
            }
        }
    }
}
