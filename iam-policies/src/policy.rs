//! IAM policy documents: parsed once and refused when wrong, compiled for one principal and one cache, evaluated to a
//! decision with its reason.
//!
//! The rules are those of the IAM User Guide ("Grammar of the IAM JSON policy language", "Policy evaluation logic",
//! "Condition operators", "Policy variables") and of contract section 7. Doubt is denial; what could make a Deny miss, such
//! as an operator or a value that cannot be read, is refused when the policy is written.

mod compile;
mod condition;
mod connect;
mod context;
mod document;
mod template;

use std::collections::BTreeMap;

pub use compile::{Compiled, Decision, Explanation};
pub use connect::may_connect;
pub use context::{CONDITION_KEYS, Moment};
pub use document::{DOCUMENT_BYTES_MAX, Policy};
pub use template::escape_key;

/// What conditions and variables may know of a principal.
#[derive(Debug, Clone, Default)]
pub struct Principal {
    /// `aws:PrincipalArn`
    pub arn: String,
    /// `aws:username`, of IAM users only.
    pub name: Option<String>,
    /// `aws:PrincipalType`: `User`, `AssumedRole`, `Account` or `Anonymous`.
    pub kind: &'static str,
    /// `aws:userid`
    pub userid: String,
    /// `aws:PrincipalAccount`
    pub account: String,
    /// `aws:PrincipalTag/…`, names in lower case.
    pub tags: BTreeMap<String, String>,
    /// `aws:TokenIssueTime`, in ms since 1970, of temporary credentials only.
    pub token_issued_ms: Option<u64>,
}

/// What conditions, variables and ARNs may know of a cache.
#[derive(Debug, Clone, Default)]
pub struct CacheFacts {
    /// `cache:Name`
    pub name: String,
    /// `cache:Engine`
    pub engine: String,
    /// `aws:RequestedRegion`
    pub region: String,
    /// `aws:ResourceAccount`
    pub account: String,
    /// `aws:ResourceTag/…`, names in lower case.
    pub tags: BTreeMap<String, String>,
}

impl CacheFacts {
    /// The ARN of the cache.
    pub fn arn(&self) -> String {
        format!("arn:aws:cache:{}:{}:cache/{}", self.region, self.account, self.name)
    }
}

#[cfg(test)]
mod tests;
