//! The ways of a ring to hand requests over and to learn that they have ended.

/// How a ring learns that requests have ended, and who hands them over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// The device interrupts; the thread hands over by a system call.
    #[default]
    Interrupts,
    /// The thread looks into the device's queue while it waits (IOPOLL). Such a ring takes nothing but transfers: no
    /// flush, and nobody can wake its thread.
    Polling,
    /// A thread of the kernel hands over (SQPOLL), so that this one makes no system call while it is busy.
    KernelThread {
        /// The core that the kernel's thread is bound to.
        core: Option<u32>,
    },
}

impl Method {
    /// The set-up flags that it stands for.
    pub(super) fn flags(self) -> &'static [&'static str] {
        match self {
            Method::Interrupts => &[],
            Method::Polling => &["IOPOLL"],
            Method::KernelThread { core: None } => &["SQPOLL"],
            Method::KernelThread { core: Some(_) } => &["SQPOLL", "SQ_AFF"],
        }
    }
}
