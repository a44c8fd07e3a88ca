//! Larder: iam-policies.
