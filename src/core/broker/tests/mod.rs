//! One short test per behaviour, by hand: no clock, no network, every event is sent by the test.

mod age;
mod backoff;
mod bench;
mod chain;
mod clock;
mod config;
mod demand;
mod file;
mod identity;
mod keep;
mod login;
mod logout;
mod refresh;
mod refusal;
mod rejected;
mod status;
mod window;

use std::sync::Arc;
use std::time::Duration;

use crate::core::broker::{Event, Outcome};
use crate::core::failure::FailureClass;
use crate::core::session::TokenFile;
use crate::core::settings::Settings;
use crate::core::waiters::Answer;
use bench::{Bench, HELD, minutes, seconds};
