//! Trust domains and SPIFFE IDs, by the SPIFFE ID standard (sections 2.1 to 2.4).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A trust domain's name: `cluster.local`.
///
/// At most 255 bytes of lower-case letters, digits, dots, dashes and underscores (SPIFFE ID, section 2.1).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// The name as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of control in this trust domain, which no caller can be issued.
    pub fn control(&self) -> SpiffeId {
        SpiffeId::join(self, "/palisade/control")
    }
}

impl FromStr for TrustDomain {
    type Err = SpiffeIdError;

    fn from_str(name: &str) -> Result<Self, SpiffeIdError> {
        if name.is_empty() {
            return Err(SpiffeIdError::NoTrustDomain);
        }
        if name.len() > MAX_TRUST_DOMAIN_BYTES {
            return Err(SpiffeIdError::TrustDomainTooLong);
        }
        if !name.bytes().all(is_trust_domain_byte) {
            return Err(SpiffeIdError::TrustDomainCharacter);
        }
        Ok(Self(name.into()))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A SPIFFE ID with a path: `spiffe://cluster.local/ns/shop/sa/web`.
///
/// Parsed by the SPIFFE ID standard; a path is required, because a bare trust domain names an authority and
/// no workload. A parsed name says nothing about who holds it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    whole: Arc<str>,
    /// Where the path begins in `whole`.
    path_at: usize,
    trust_domain: TrustDomain,
}

impl SpiffeId {
    /// The trust domain that vouches for the name.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The path, with its leading slash.
    pub fn path(&self) -> &str {
        self.whole.get(self.path_at..).unwrap_or_default()
    }

    /// The whole name, as it stands in a certificate.
    pub fn as_str(&self) -> &str {
        &self.whole
    }

    /// The service account that the name stands for, if it has the form `/ns/<namespace>/sa/<name>`.
    pub fn service_account(&self) -> Option<(&str, &str)> {
        let mut segments = self.path().split('/').skip(1);
        let named = (
            segments.next()?,
            segments.next()?,
            segments.next()?,
            segments.next()?,
        );
        match (named, segments.next()) {
            (("ns", namespace, "sa", name), None) => Some((namespace, name)),
            _ => None,
        }
    }

    /// The name of a service account.
    ///
    /// # Errors
    ///
    /// Where `namespace` or `name` is no path segment of a SPIFFE ID.
    pub fn of_service_account(
        trust_domain: &TrustDomain,
        namespace: &str,
        name: &str,
    ) -> Result<Self, SpiffeIdError> {
        check_segment(namespace)?;
        check_segment(name)?;
        let id = Self::join(trust_domain, &format!("/ns/{namespace}/sa/{name}"));
        if id.whole.len() > MAX_ID_BYTES {
            return Err(SpiffeIdError::TooLong);
        }
        Ok(id)
    }

    fn join(trust_domain: &TrustDomain, path: &str) -> Self {
        Self {
            whole: format!("{SCHEME}{trust_domain}{path}").into(),
            path_at: SCHEME.len() + trust_domain.0.len(),
            trust_domain: trust_domain.clone(),
        }
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(id: &str) -> Result<Self, SpiffeIdError> {
        if id.len() > MAX_ID_BYTES {
            return Err(SpiffeIdError::TooLong);
        }
        let rest = id.strip_prefix(SCHEME).ok_or(SpiffeIdError::Scheme)?;
        let (trust_domain, path) = rest.split_once('/').ok_or(SpiffeIdError::NoPath)?;
        let trust_domain: TrustDomain = trust_domain.parse()?;
        path.split('/').try_for_each(check_segment)?;
        Ok(Self {
            whole: id.into(),
            path_at: SCHEME.len() + trust_domain.0.len(),
            trust_domain,
        })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.whole)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no SPIFFE ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeIdError {
    /// Longer than 2048 bytes.
    #[error("a SPIFFE ID has at most {MAX_ID_BYTES} bytes")]
    TooLong,
    /// Another scheme, or none.
    #[error("a SPIFFE ID begins with {SCHEME} in lower case")]
    Scheme,
    /// `spiffe:///path`.
    #[error("the trust domain is missing")]
    NoTrustDomain,
    /// Longer than 255 bytes.
    #[error("a trust domain has at most {MAX_TRUST_DOMAIN_BYTES} bytes")]
    TrustDomainTooLong,
    /// A port, user, upper-case letter, percent sign or the like.
    #[error("a trust domain has only lower-case letters, digits, dots, dashes and underscores")]
    TrustDomainCharacter,
    /// A bare trust domain.
    #[error("the path is missing; a workload's name is like spiffe://cluster.local/ns/shop/sa/web")]
    NoPath,
    /// Two slashes in a row, or one at the end.
    #[error("a path has no empty segment and no slash at its end")]
    EmptySegment,
    /// `.` or `..`.
    #[error("a path has no segment . or ..")]
    DotSegment,
    /// Anything but letters, digits, dots, dashes and underscores; so no query and no fragment.
    #[error("a path segment has only letters, digits, dots, dashes and underscores")]
    PathCharacter,
}

fn check_segment(segment: &str) -> Result<(), SpiffeIdError> {
    if segment.is_empty() {
        return Err(SpiffeIdError::EmptySegment);
    }
    if segment == "." || segment == ".." {
        return Err(SpiffeIdError::DotSegment);
    }
    if !segment
        .bytes()
        .all(|byte| byte.is_ascii_uppercase() || is_trust_domain_byte(byte))
    {
        return Err(SpiffeIdError::PathCharacter);
    }
    Ok(())
}

fn is_trust_domain_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_')
}

const SCHEME: &str = "spiffe://";
const MAX_ID_BYTES: usize = 2048;
const MAX_TRUST_DOMAIN_BYTES: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_the_standard_refuses_is_refused() {
        let long = format!("spiffe://a/{}", "b".repeat(2048));
        let long_domain = format!("spiffe://{}/b", "a".repeat(256));
        for (text, error) in [
            ("", SpiffeIdError::Scheme),
            ("http://a/b", SpiffeIdError::Scheme),
            ("SPIFFE://a/b", SpiffeIdError::Scheme),
            ("spiffe:/a/b", SpiffeIdError::Scheme),
            ("spiffe:///b", SpiffeIdError::NoTrustDomain),
            ("spiffe://a", SpiffeIdError::NoPath),
            ("spiffe://a/", SpiffeIdError::EmptySegment),
            ("spiffe://a/b/", SpiffeIdError::EmptySegment),
            ("spiffe://a//b", SpiffeIdError::EmptySegment),
            ("spiffe://a/./b", SpiffeIdError::DotSegment),
            ("spiffe://a/../b", SpiffeIdError::DotSegment),
            ("spiffe://A/b", SpiffeIdError::TrustDomainCharacter),
            ("spiffe://a:1/b", SpiffeIdError::TrustDomainCharacter),
            ("spiffe://u@a/b", SpiffeIdError::TrustDomainCharacter),
            ("spiffe://a%41/b", SpiffeIdError::TrustDomainCharacter),
            ("spiffe://a/b?c", SpiffeIdError::PathCharacter),
            ("spiffe://a/b#c", SpiffeIdError::PathCharacter),
            ("spiffe://a/b%20c", SpiffeIdError::PathCharacter),
            ("spiffe://a/é", SpiffeIdError::PathCharacter),
            ("spiffe://a/b\0", SpiffeIdError::PathCharacter),
            (long.as_str(), SpiffeIdError::TooLong),
            (long_domain.as_str(), SpiffeIdError::TrustDomainTooLong),
        ] {
            assert_eq!(text.parse::<SpiffeId>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_service_account_has_exactly_four_segments() {
        for (id, account) in [
            ("spiffe://a/ns/shop/sa/web", Some(("shop", "web"))),
            ("spiffe://a/ns/shop/sa/web/x", None),
            ("spiffe://a/ns/shop/sa", None),
            ("spiffe://a/sa/shop/ns/web", None),
            ("spiffe://a/palisade/control", None),
        ] {
            assert_eq!(
                id.parse::<SpiffeId>().unwrap().service_account(),
                account,
                "{id}"
            );
        }
    }

    #[test]
    fn a_built_name_is_the_parsed_one() {
        let domain: TrustDomain = "cluster.local".parse().unwrap();
        let built = SpiffeId::of_service_account(&domain, "shop", "web").unwrap();
        assert_eq!(
            built,
            "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap()
        );
        assert_eq!(
            SpiffeId::of_service_account(&domain, "shop/sa", "web"),
            Err(SpiffeIdError::PathCharacter)
        );
        assert_eq!(
            SpiffeId::of_service_account(&domain, "", "web"),
            Err(SpiffeIdError::EmptySegment)
        );
    }

    proptest! {
        #[test]
        fn printing_a_parsed_name_gives_it_back(text in "spiffe://[a-z0-9._-]{1,40}(/[A-Za-z0-9_-]{1,12}){1,6}") {
            let id: SpiffeId = text.parse().unwrap();
            prop_assert_eq!(id.to_string(), text);
            prop_assert_eq!(format!("spiffe://{}{}", id.trust_domain(), id.path()), id.as_str());
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,300}") {
            if let Ok(id) = text.parse::<SpiffeId>() {
                prop_assert_eq!(id.as_str(), text);
            }
        }
    }
}
