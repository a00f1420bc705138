//! The forms of names, as Kubernetes has them.

/// What a name must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A DNS label: namespaces, services, rules.
    Label,
    /// DNS labels with dots between them: all other names.
    Subdomain,
    /// `app`, `app.kubernetes.io/name`.
    LabelKey,
    /// What a label's value may be; here without the empty one.
    LabelValue,
}

impl Form {
    pub(super) fn fits(self, text: &str) -> bool {
        match self {
            Self::Label => is_dns_label(text),
            Self::Subdomain => is_subdomain(text),
            Self::LabelKey => match text.split_once('/') {
                Some((prefix, name)) => is_subdomain(prefix) && is_qualified(name),
                None => is_qualified(text),
            },
            Self::LabelValue => is_qualified(text),
        }
    }

    /// What to write instead.
    pub(super) fn remedy(self, text: &str) -> String {
        if text.contains('*') {
            return "write the whole name: there are no wildcards within a name".to_owned();
        }
        let form = match self {
            Self::Label => {
                "at most 63 lower-case letters, digits and dashes, a letter or digit at both ends"
            }
            Self::Subdomain => {
                "at most 253 lower-case letters, digits, dashes and dots, a letter or digit at both ends and around each dot"
            }
            Self::LabelKey => {
                "at most 63 letters, digits, dashes, underscores and dots, a letter or digit at both ends; a DNS name and a slash may stand before"
            }
            Self::LabelValue => {
                "at most 63 letters, digits, dashes, underscores and dots, a letter or digit at both ends"
            }
        };
        format!("write {form}")
    }
}

fn is_dns_label(text: &str) -> bool {
    text.len() <= MAX_LABEL_BYTES && has_letters_and_dashes(text)
}

/// Kubernetes bounds the whole, not what stands between the dots.
fn is_subdomain(text: &str) -> bool {
    text.len() <= MAX_SUBDOMAIN_BYTES && text.split('.').all(has_letters_and_dashes)
}

fn has_letters_and_dashes(text: &str) -> bool {
    let is_inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.bytes().all(is_inside) && has_alphanumeric_ends(text)
}

fn is_qualified(text: &str) -> bool {
    let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.len() <= MAX_LABEL_BYTES && text.bytes().all(is_inside) && has_alphanumeric_ends(text)
}

fn has_alphanumeric_ends(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}

const MAX_LABEL_BYTES: usize = 63;
const MAX_SUBDOMAIN_BYTES: usize = 253;
