//! Quantities, and what a namespace demands of every container in it.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem, ResourceQuota};
use k8s_openapi::apimachinery::pkg::api::resource;
use thiserror::Error;

/// An amount of CPU or memory, as Kubernetes writes it: `10m`, `32Mi`. Never negative. Compared by value.
#[derive(Debug, Clone)]
pub struct Quantity {
    text: String,
    nanos: i128,
}

/// What the namespace's LimitRanges and ResourceQuotas ask of every container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitsDemanded {
    /// Of its CPU.
    pub cpu: Bounds,
    /// Of its memory.
    pub memory: Bounds,
}

/// What is asked of one resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Whether a container without a limit would be refused, or be given one.
    pub limit: LimitDemand,
    /// The least request.
    pub min: Option<Quantity>,
    /// The highest limit.
    pub max: Option<Quantity>,
}

/// Whether a limit is demanded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LimitDemand {
    /// It is not.
    #[default]
    None,
    /// It is, whatever its value.
    Any,
    /// It is, and this is the namespace's default.
    Default(Quantity),
    /// It is, and its ratio to the request is bounded.
    LikeRequest,
}

/// Why a text is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("\"{0}\" is no quantity; write one as \"100m\" or \"64Mi\"")]
pub struct QuantityError(String);

/// What the namespace's objects ask of every container.
pub fn demanded(ranges: &[LimitRange], quotas: &[ResourceQuota]) -> LimitsDemanded {
    LimitsDemanded {
        cpu: bounds("cpu", ranges, quotas),
        memory: bounds("memory", ranges, quotas),
    }
}

fn bounds(resource: &str, ranges: &[LimitRange], quotas: &[ResourceQuota]) -> Bounds {
    let mut bounds = Bounds::default();
    let limit = format!("limits.{resource}");
    let is_limited = |quota: &ResourceQuota| {
        let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
        hard.is_some_and(|hard| hard.contains_key(&limit))
    };
    if quotas.iter().any(is_limited) {
        bounds.limit = LimitDemand::Any;
    }
    let items = ranges.iter().filter_map(|range| range.spec.as_ref());
    for item in items.flat_map(|spec| &spec.limits) {
        bounds.narrow(resource, item);
    }
    bounds
}

impl Bounds {
    fn narrow(&mut self, resource: &str, item: &LimitRangeItem) {
        let of = |map: &Option<std::collections::BTreeMap<String, resource::Quantity>>| {
            let found = map.as_ref().and_then(|map| map.get(resource));
            found.and_then(|quantity| quantity.0.parse::<Quantity>().ok())
        };
        let (min, max, ratio) = (
            of(&item.min),
            of(&item.max),
            of(&item.max_limit_request_ratio),
        );
        let is_bounded = max.is_some() || ratio.is_some();
        if is_bounded && self.limit == LimitDemand::None {
            self.limit = LimitDemand::Any;
        }
        // A pod's own bounds are on the sum of its containers: they demand limits, and say nothing of one container's.
        if item.type_ != "Container" {
            return;
        }
        if ratio.is_some() {
            self.limit = LimitDemand::LikeRequest;
        } else if let Some(default) = of(&item.default)
            && self.limit != LimitDemand::LikeRequest
        {
            self.limit = LimitDemand::Default(default);
        }
        self.min = self.min.take().max(min);
        self.max = match (self.max.take(), max) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    /// The request that is written where `wanted` is: within the bounds.
    pub fn request(&self, wanted: &Quantity) -> Quantity {
        let raised = self.min.as_ref().map_or(wanted, |min| wanted.max(min));
        self.max
            .as_ref()
            .map_or(raised, |max| raised.min(max))
            .clone()
    }

    /// The limit that is written beside `request`, if one is demanded; `usual` is taken where none is named.
    pub fn limit(&self, request: &Quantity, usual: &Quantity) -> Option<Quantity> {
        let limit = match &self.limit {
            LimitDemand::None => return None,
            LimitDemand::Any => usual,
            LimitDemand::Default(limit) => limit,
            LimitDemand::LikeRequest => request,
        };
        let limit = self.max.as_ref().map_or(limit, |max| limit.min(max));
        Some(limit.max(request).clone())
    }
}

impl Quantity {
    /// Its value, in billionths.
    pub(crate) fn nanos(&self) -> i128 {
        self.nanos
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let error = || QuantityError(text.to_owned());
        let nanos = nanos(text).ok_or_else(error)?;
        Ok(Self {
            text: text.to_owned(),
            nanos,
        })
    }
}

/// A suffix multiplies by a power of ten or of 1024, or is an exponent: `1e3`.
fn nanos(text: &str) -> Option<i128> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let end = digits
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(digits.len());
    let (number, suffix) = digits.split_at_checked(end)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mantissa = format!("{whole}{fraction}");
    // Digits only, and few enough for every product below.
    if mantissa.is_empty() || mantissa.len() > 18 || fraction.contains('.') {
        return None;
    }
    let mantissa: i128 = mantissa.parse().ok()?;
    let (binary, decimal) = scale(suffix)?;
    let decimals = i32::try_from(fraction.len()).ok()?;
    let scaled = mantissa.checked_mul(1024_i128.checked_pow(binary)?)?;
    let exponent = decimal.checked_add(9)?.checked_sub(decimals)?;
    let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
    if exponent >= 0 {
        scaled.checked_mul(power)
    } else {
        // What is less than a nano is rounded up, as Kubernetes does it.
        Some(scaled.checked_add(power.checked_sub(1)?)? / power)
    }
}

/// The power of 1024 and the power of ten that a suffix stands for.
fn scale(suffix: &str) -> Option<(u32, i32)> {
    let decimal = |exponent| Some((0, exponent));
    match suffix {
        "Ki" => Some((1, 0)),
        "Mi" => Some((2, 0)),
        "Gi" => Some((3, 0)),
        "Ti" => Some((4, 0)),
        "Pi" => Some((5, 0)),
        "Ei" => Some((6, 0)),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        exponent => {
            let digits = exponent.strip_prefix(['e', 'E'])?;
            digits.parse().ok().map(|exponent| (0, exponent))
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn quantity(text: &str) -> Quantity {
        text.parse().unwrap()
    }

    #[test]
    fn quantities_are_compared_by_value() {
        for (one, other) in [
            ("0.5", "500m"),
            ("1Gi", "1024Mi"),
            ("1e3", "1k"),
            ("1.5Gi", "1536Mi"),
            ("2E", "2e18"),
            ("+1", "1000m"),
        ] {
            assert_eq!(quantity(one), quantity(other), "{one} {other}");
        }
        assert!(quantity("1M") < quantity("1Mi"));
        assert!(quantity("999m") < quantity("1"));
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in [
            "", "m", "-1", "1.2.3", "1 Gi", "1gi", "10 m", "1e", "ten", ".", "1e99",
        ] {
            assert!(text.parse::<Quantity>().is_err(), "{text:?}");
        }
    }

    fn container(bounds: Value) -> Value {
        let mut item = bounds;
        item["type"] = json!("Container");
        json!({"spec": {"limits": [item]}})
    }

    #[test]
    fn limits_are_demanded_by_quotas_and_ranges() {
        let quota = json!({"spec": {"hard": {"limits.cpu": "4", "requests.memory": "4Gi"}}});
        let of_pods = json!({"spec": {"limits": [{"type": "Pod", "max": {"cpu": "100m"}}]}});
        let of_claims = json!({"spec": {"limits": [{"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}}]}});
        // What the objects are, what limits then stand beside requests of 10m and 32Mi.
        for (range, quota, cpu, memory) in [
            (None, None, None, None),
            (None, Some(quota.clone()), Some("500m"), None),
            (
                Some(container(json!({"default": {"memory": "100Mi"}}))),
                None,
                None,
                Some("100Mi"),
            ),
            (
                Some(container(json!({"max": {"cpu": "200m"}}))),
                Some(quota),
                Some("200m"),
                None,
            ),
            (
                Some(container(json!({"maxLimitRequestRatio": {"cpu": "2"}}))),
                None,
                Some("10m"),
                None,
            ),
            (Some(of_pods), None, Some("500m"), None),
            (
                Some(container(json!({"default": {"memory": "8Mi"}}))),
                None,
                None,
                Some("32Mi"),
            ),
            (Some(of_claims), None, None, None),
        ] {
            let ranges: Vec<LimitRange> =
                serde_json::from_value(range.into_iter().collect()).unwrap();
            let quotas: Vec<ResourceQuota> =
                serde_json::from_value(quota.into_iter().collect()).unwrap();
            let limits = demanded(&ranges, &quotas);
            let of = |bounds: &Bounds, request: &str, usual: &str| {
                bounds.limit(&quantity(request), &quantity(usual))
            };
            assert_eq!(
                of(&limits.cpu, "10m", "500m"),
                cpu.map(quantity),
                "{ranges:?}"
            );
            assert_eq!(
                of(&limits.memory, "32Mi", "256Mi"),
                memory.map(quantity),
                "{ranges:?}"
            );
        }
    }

    #[test]
    fn a_request_stays_within_the_bounds() {
        let bounds = Bounds {
            min: Some(quantity("50m")),
            max: Some(quantity("100m")),
            ..Bounds::default()
        };
        for (wanted, written) in [("10m", "50m"), ("60m", "60m"), ("1", "100m")] {
            assert_eq!(bounds.request(&quantity(wanted)), quantity(written));
        }
    }
}
