//! Commands of redis and Valkey that are known and not here, and why: for whoever asks for one, and for the page.

use super::Args;
use crate::error::CommandError;

/// A command that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Upper case; a subcommand is `CONTAINER|NAME`. A container's row speaks for all its subcommands.
    pub name: &'static str,
    /// Why.
    pub why: Why,
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// ElastiCache does not let its users do it either.
    Managed,
    /// It is about snapshots or the append-only file.
    Persistence,
    /// It is about replicas.
    Replication,
    /// It is about a cluster of nodes.
    Cluster,
}

impl Why {
    /// As a clause: "NAME is not available: …".
    pub fn text(self) -> &'static str {
        match self {
            Self::Managed => "a managed cache refuses it too",
            Self::Persistence => "it comes with persistence, which is not built yet",
            Self::Replication => "it comes with replication, which is not built yet",
            Self::Cluster => "it comes with the cluster protocol, which is not built yet",
        }
    }
}

macro_rules! refused {
    ($($why:ident: $($name:literal)+;)+) => {
        &[$($(Refused { name: $name, why: Why::$why }),+),+]
    };
}

/// Every refused command, in no order that means anything.
pub const REFUSED: &[Refused] = refused! {
    Managed: "BGREWRITEAOF" "BGSAVE" "MIGRATE" "MODULE" "MODULE|HELP" "MODULE|LIST" "MODULE|LOAD" "MODULE|LOADEX"
        "MODULE|UNLOAD" "PFDEBUG" "PFSELFTEST" "PSYNC" "REPLICAOF" "SAVE" "SHUTDOWN" "SLAVEOF" "SYNC";
    Persistence: "LASTSAVE";
    Replication: "CLIENT|IMPORT-SOURCE" "FAILOVER" "REPLCONF";
    Cluster: "ASKING" "CLUSTER" "CLUSTER|ADDSLOTS" "CLUSTER|ADDSLOTSRANGE" "CLUSTER|BUMPEPOCH"
        "CLUSTER|COUNT-FAILURE-REPORTS" "CLUSTER|COUNTKEYSINSLOT" "CLUSTER|DELSLOTS" "CLUSTER|DELSLOTSRANGE"
        "CLUSTER|FAILOVER" "CLUSTER|FLUSHSLOTS" "CLUSTER|FORGET" "CLUSTER|GETKEYSINSLOT" "CLUSTER|HELP" "CLUSTER|INFO"
        "CLUSTER|KEYSLOT" "CLUSTER|LINKS" "CLUSTER|MEET" "CLUSTER|MYID" "CLUSTER|MYSHARDID" "CLUSTER|NODES"
        "CLUSTER|REPLICAS" "CLUSTER|REPLICATE" "CLUSTER|RESET" "CLUSTER|SAVECONFIG" "CLUSTER|SET-CONFIG-EPOCH"
        "CLUSTER|SETSLOT" "CLUSTER|SHARDS" "CLUSTER|SLAVES" "CLUSTER|SLOT-STATS" "CLUSTER|SLOTS" "READONLY" "READWRITE"
        "RESTORE-ASKING";
};

/// What is said to a request for a refused command, or for a refused subcommand of one that is here.
#[cold]
pub(super) fn refusal(args: Args<'_>) -> Option<CommandError> {
    let (name, sub) = (args.try_get(0)?, args.try_get(1).unwrap_or_default());
    let is = |refused: &&Refused| match refused.name.split_once('|') {
        None => refused.name.as_bytes().eq_ignore_ascii_case(name),
        Some((of, subname)) => of.as_bytes().eq_ignore_ascii_case(name) && subname.as_bytes().eq_ignore_ascii_case(sub),
    };
    let Refused { name, why } = REFUSED.iter().find(is)?;
    Some(match why {
        // Redis's own text, by which clients find out.
        Why::Cluster => CommandError::Text("ERR This instance has cluster support disabled"),
        why => CommandError::Said(format!("ERR {} is not available: {}", name.replace('|', " "), why.text())),
    })
}

#[cfg(test)]
mod tests;
