//! Ctrl-C in a measurement: the first one asks for an end in order, so that what was measured is told.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bireme_dataplane::engine::Handles;
use bireme_dataplane::telemetry::Gauges;
use signal_hook::consts::{SIGINT, SIGTERM};

/// For one run. The second signal ends the process.
pub(crate) fn handles() -> Result<Handles, String> {
    let handles = Handles { gauges: Arc::new(Gauges::new(0)), stop: Arc::new(AtomicBool::new(false)) };
    for signal in [SIGINT, SIGTERM] {
        let asked = signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, handles.stop.clone())
            .and_then(|_| signal_hook::flag::register(signal, handles.stop.clone()));
        asked.map_err(|error| format!("signals cannot be watched: {error}"))?;
    }
    Ok(handles)
}
