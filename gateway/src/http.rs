//! HTTP: bytes to a [`request::Request`], an [`answer::Answer`] to bytes, and the two dialects between them.

pub(crate) mod answer;
pub(crate) mod browser;
pub(crate) mod command;
pub(crate) mod connection;
pub(crate) mod etag;
pub(crate) mod json;
pub(crate) mod merge;
pub(crate) mod render;
pub(crate) mod request;
pub(crate) mod resource;
pub(crate) mod session;
pub(crate) mod work;
