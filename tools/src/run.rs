//! What each command does: builds the configuration, runs the engine, prints the reports.

use crate::cli::{Cli, Command, Export, Lab, LabDown, LabUp, Offload, Restore};

/// Runs a command; an error is a sentence for the operator.
pub fn run(cli: &Cli) -> Result<(), String> {
    match &cli.command {
        Command::Offload(arguments) => offload(arguments),
        Command::Restore(arguments) => restore(arguments),
        Command::Export(arguments) => export(arguments),
        Command::Lab(Lab::Up(arguments)) => lab_up(arguments),
        Command::Lab(Lab::Down(arguments)) => lab_down(arguments),
    }
}

fn offload(_: &Offload) -> Result<(), String> {
    Err("offload is not wired yet".to_owned())
}

fn restore(_: &Restore) -> Result<(), String> {
    Err("restore is not wired yet".to_owned())
}

fn export(_: &Export) -> Result<(), String> {
    Err("export is not wired yet".to_owned())
}

fn lab_up(_: &LabUp) -> Result<(), String> {
    Err("lab up is not wired yet".to_owned())
}

fn lab_down(_: &LabDown) -> Result<(), String> {
    Err("lab down is not wired yet".to_owned())
}
