//! Faults by rule: which calls go wrong, and how.

use std::sync::{Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::world::errors::ErrorName;

/// What a fault does to a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Effect {
    /// ThrottlingException with status 429; nothing is done.
    Throttle,
    /// An error; nothing is done.
    Error {
        /// Its name; the status follows if the API knows it.
        name: String,
        /// Status for names that the API doesn't know; 400 otherwise.
        status: Option<u16>,
        /// For people.
        message: Option<String>,
    },
    /// The answer comes later.
    Delay {
        /// How much later.
        milliseconds: u64,
    },
    /// The connection ends without an answer, and nothing is done.
    DropBefore,
    /// The work is done, then the connection ends without an answer.
    DropAfter,
    /// The work is done, and the connection ends in the middle of the answer.
    Truncate,
    /// The work is done, and the answer comes byte by byte.
    Slow {
        /// Pause before each byte.
        milliseconds_per_byte: u64,
    },
}

/// Which calls a fault strikes, and what it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Given by the fake.
    #[serde(default)]
    pub id: u64,
    /// `efs`, `s3files`, `s3`, `sts`, `imds` or `pod-identity`; all if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The operation; all if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// An id or other text that one of the arguments must contain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Matching calls that pass before the first is struck.
    #[serde(default)]
    pub skip: u64,
    /// Calls to be struck; without end if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// Chance of each remaining call, 0 to 1.
    #[serde(default = "always")]
    pub probability: f64,
    /// Switched off rules wait.
    #[serde(default = "on")]
    pub enabled: bool,
    /// What happens.
    pub effect: Effect,
    /// Matching calls so far.
    #[serde(default)]
    pub seen: u64,
    /// Struck calls so far.
    #[serde(default)]
    pub struck: u64,
}

/// The default of [`Rule::probability`].
fn always() -> f64 {
    1.0
}

/// The default of [`Rule::enabled`].
fn on() -> bool {
    true
}

impl Rule {
    /// Strikes every call of an operation.
    pub fn on(operation: &str, effect: Effect) -> Self {
        Self {
            id: 0,
            service: None,
            operation: Some(operation.to_owned()),
            resource: None,
            skip: 0,
            times: None,
            probability: 1.0,
            enabled: true,
            effect,
            seen: 0,
            struck: 0,
        }
    }

    /// Strikes so many calls only.
    #[must_use]
    pub fn times(self, times: u64) -> Self {
        Self { times: Some(times), ..self }
    }

    /// Lets so many calls pass first.
    #[must_use]
    pub fn after(self, skip: u64) -> Self {
        Self { skip, ..self }
    }

    fn matches(&self, service: &str, operation: &str, arguments: &Value) -> bool {
        let is = |wanted: &Option<String>, text: &str| wanted.as_deref().is_none_or(|wanted| wanted == text);
        self.enabled
            && is(&self.service, service)
            && is(&self.operation, operation)
            && self.resource.as_deref().is_none_or(|text| mentions(arguments, text))
    }
}

/// Whether a text is part of any string in a value.
fn mentions(value: &Value, text: &str) -> bool {
    match value {
        Value::String(s) => s.contains(text),
        Value::Array(items) => items.iter().any(|item| mentions(item, text)),
        Value::Object(map) => map.values().any(|item| mentions(item, text)),
        _ => false,
    }
}

/// A rule that can't work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// There are enough.
    #[error("there can be at most {MOST_RULES} fault rules")]
    TooMany,
    /// Not a chance.
    #[error("probability must be between 0 and 1")]
    Probability,
    /// No HTTP error.
    #[error("status must be between 400 and 599")]
    Status,
}

/// Most rules at a time.
const MOST_RULES: usize = 1000;

/// All rules.
#[derive(Debug)]
pub struct Faults(Mutex<Rules>);

#[derive(Debug)]
struct Rules {
    rules: Vec<Rule>,
    last: u64,
    chance: StdRng,
}

impl Faults {
    /// No rules. The seed decides about probabilities.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(Rules { rules: Vec::new(), last: 0, chance: StdRng::seed_from_u64(seed) }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Rules> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a rule and returns its id.
    pub fn add(&self, rule: Rule) -> Result<u64, RuleError> {
        if !(0.0..=1.0).contains(&rule.probability) {
            return Err(RuleError::Probability);
        }
        if let Effect::Error { status: Some(status), .. } = rule.effect
            && !(400..600).contains(&status)
        {
            return Err(RuleError::Status);
        }
        let mut rules = self.lock();
        if rules.rules.len() >= MOST_RULES {
            return Err(RuleError::TooMany);
        }
        rules.last += 1;
        let id = rules.last;
        rules.rules.push(Rule { id, seen: 0, struck: 0, ..rule });
        Ok(id)
    }

    /// All rules with their counts.
    pub fn list(&self) -> Vec<Rule> {
        self.lock().rules.clone()
    }

    /// Removes a rule; whether it was there.
    pub fn remove(&self, id: u64) -> bool {
        let mut rules = self.lock();
        let before = rules.rules.len();
        rules.rules.retain(|rule| rule.id != id);
        rules.rules.len() < before
    }

    /// Switches a rule; whether it was there.
    pub fn enable(&self, id: u64, enabled: bool) -> bool {
        let mut rules = self.lock();
        let rule = rules.rules.iter_mut().find(|rule| rule.id == id);
        rule.map(|rule| rule.enabled = enabled).is_some()
    }

    /// Removes all rules.
    pub fn clear(&self) {
        self.lock().rules.clear();
    }

    /// Counts a call, and says what is to happen to it: the first rule that strikes, and its id.
    pub fn strike(&self, service: &str, operation: &str, arguments: &Value) -> Option<(u64, Effect)> {
        let mut rules = self.lock();
        let Rules { rules, chance, .. } = &mut *rules;
        for rule in rules.iter_mut().filter(|rule| rule.matches(service, operation, arguments)) {
            rule.seen += 1;
            let spent = rule.times.is_some_and(|times| rule.struck >= times);
            if rule.seen <= rule.skip || spent || chance.random::<f64>() >= rule.probability {
                continue;
            }
            rule.struck += 1;
            return Some((rule.id, rule.effect.clone()));
        }
        None
    }
}

impl Effect {
    /// An error of the API by its name.
    pub fn error(name: ErrorName) -> Self {
        Self::Error { name: name.as_str().to_owned(), status: None, message: None }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn strikes(faults: &Faults, calls: usize) -> Vec<bool> {
        (0..calls).map(|_| faults.strike("efs", "CreateAccessPoint", &json!({})).is_some()).collect()
    }

    #[test]
    fn a_rule_strikes_the_nth_call_as_often_as_it_says() {
        let faults = Faults::new(1);
        faults.add(Rule::on("CreateAccessPoint", Effect::Throttle).after(1).times(2)).unwrap();
        assert_eq!(strikes(&faults, 5), [false, true, true, false, false]);
        assert_eq!(faults.strike("efs", "DeleteAccessPoint", &json!({})), None);
        assert_eq!((faults.list()[0].seen, faults.list()[0].struck), (5, 2));
    }

    #[test]
    fn chances_repeat_with_the_seed() {
        let run = |seed| {
            let faults = Faults::new(seed);
            faults.add(Rule { probability: 0.5, ..Rule::on("CreateAccessPoint", Effect::DropAfter) }).unwrap();
            strikes(&faults, 64)
        };
        assert_eq!(run(3), run(3));
        assert!(run(3).contains(&true) && run(3).contains(&false));
    }

    #[test]
    fn a_rule_can_be_for_one_resource_and_be_switched_off() {
        let faults = Faults::new(1);
        let rule: Rule =
            serde_json::from_value(json!({"resource": "fs-01234567", "effect": {"kind": "delay", "milliseconds": 5}}))
                .unwrap();
        let id = faults.add(rule).unwrap();
        let strike = |fs: &str| faults.strike("efs", "X", &json!({"a": [{"FileSystemId": fs}]})).is_some();
        assert!(strike("fs-01234567") && !strike("fs-76543210"));
        assert!(faults.enable(id, false) && !strike("fs-01234567"));
        assert!(faults.remove(id) && !faults.remove(id));
    }

    #[test]
    fn impossible_rules_are_refused() {
        let faults = Faults::new(1);
        let rule = Rule { probability: 2.0, ..Rule::on("X", Effect::Throttle) };
        assert_eq!(faults.add(rule), Err(RuleError::Probability));
        let effect = Effect::Error { name: "E".to_owned(), status: Some(200), message: None };
        assert_eq!(faults.add(Rule::on("X", effect)), Err(RuleError::Status));
    }
}
