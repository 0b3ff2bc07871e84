//! Real `agentd`, real `agentctl`, real sockets and files in a temporary home, against the fake AWS on loopback.
//! Most of it is for Unix: signals, modes and Unix domain sockets are part of what is tested.

#[cfg(test)]
mod support;

#[cfg(test)]
#[path = "daemon/agent.rs"]
mod agent;
#[cfg(test)]
#[cfg(unix)]
#[path = "daemon/audit.rs"]
mod audit;
#[cfg(test)]
#[cfg(unix)]
#[path = "daemon/bad_input.rs"]
mod bad_input;
#[cfg(test)]
#[cfg(unix)]
#[path = "daemon/behind.rs"]
mod behind;
#[cfg(test)]
#[cfg(unix)]
#[path = "daemon/choices.rs"]
mod choices;
#[cfg(test)]
#[cfg(target_os = "linux")]
#[path = "daemon/clock_steps.rs"]
mod clock_steps;
#[cfg(test)]
#[cfg(unix)]
#[path = "daemon/crowd.rs"]
mod crowd;
#[cfg(test)]
#[cfg(target_os = "linux")]
#[path = "daemon/disk.rs"]
mod disk;
#[cfg(test)]
#[cfg(unix)]
#[path = "daemon/doctor.rs"]
mod doctor;
#[cfg(test)]
#[cfg(unix)]
#[path = "daemon/doctor_bedrock.rs"]
mod doctor_bedrock;
#[cfg(test)]
#[cfg(unix)]
#[path = "daemon/doctor_claude.rs"]
mod doctor_claude;
#[cfg(test)]
#[cfg(unix)]
#[path = "daemon/doctor_config.rs"]
mod doctor_config;
#[cfg(test)]
#[cfg(unix)]
#[path = "daemon/doctor_settings.rs"]
mod doctor_settings;
#[cfg(test)]
#[cfg(unix)]
#[path = "daemon/faults.rs"]
mod faults;
#[cfg(test)]
#[cfg(unix)]
#[path = "daemon/help.rs"]
mod help;
#[cfg(test)]
#[cfg(unix)]
#[path = "daemon/hostile_files.rs"]
mod hostile_files;
#[cfg(test)]
#[cfg(unix)]
#[path = "daemon/interception.rs"]
mod interception;
#[cfg(test)]
#[cfg(target_os = "linux")]
#[path = "daemon/kills.rs"]
mod kills;
#[cfg(test)]
#[cfg(unix)]
#[path = "daemon/life.rs"]
mod life;
#[cfg(test)]
#[cfg(unix)]
#[path = "daemon/login.rs"]
mod login;
#[cfg(test)]
#[cfg(unix)]
#[path = "daemon/logout.rs"]
mod logout;
#[cfg(test)]
#[path = "daemon/main_job.rs"]
mod main_job;
#[cfg(test)]
#[cfg(target_os = "linux")]
#[path = "daemon/memory.rs"]
mod memory;
#[cfg(test)]
#[path = "daemon/models.rs"]
mod models;
#[cfg(test)]
#[cfg(unix)]
#[path = "daemon/peers.rs"]
mod peers;
#[cfg(test)]
#[cfg(windows)]
#[path = "daemon/pipe.rs"]
mod pipe;
#[cfg(test)]
#[cfg(unix)]
#[path = "daemon/rotations.rs"]
mod rotations;
#[cfg(test)]
#[cfg(target_os = "linux")]
#[path = "daemon/screens.rs"]
mod screens;
#[cfg(test)]
#[cfg(unix)]
#[path = "daemon/secrets.rs"]
mod secrets;
#[cfg(test)]
#[cfg(target_os = "linux")]
#[path = "daemon/service.rs"]
mod service;
#[cfg(test)]
#[cfg(unix)]
#[path = "daemon/setup.rs"]
mod setup;
#[cfg(test)]
#[cfg(unix)]
#[path = "daemon/setup_convert.rs"]
mod setup_convert;
#[cfg(test)]
#[cfg(unix)]
#[path = "daemon/setup_screens.rs"]
mod setup_screens;
#[cfg(test)]
#[cfg(unix)]
#[path = "daemon/sign_in_again.rs"]
mod sign_in_again;
#[cfg(test)]
#[cfg(target_os = "linux")]
#[path = "daemon/upgrade.rs"]
mod upgrade;
#[cfg(test)]
#[cfg(unix)]
#[path = "daemon/watching.rs"]
mod watching;
