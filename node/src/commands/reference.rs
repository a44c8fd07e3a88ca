//! The table as a page.

use super::{Beyond, Http, KeyFlags, REFUSED, Refused, SPECS, Spec, Ttl};

/// The table as a page: `docs/commands.md`.
pub fn reference() -> String {
    let mut page = String::from(
        "# Commands\n\nGenerated from the command table (`node/src/commands`). Every reply and error text is redis 7.0.15's \
         unless `docs/fidelity.md` says otherwise.\n\nTTL is what `cache:TtlMs` is for a command that writes: the TTL its \
         key will have.\n\n| command | since | arity | needs | TTL | over HTTP | what it does | answers |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for spec in SPECS.iter().filter(|spec| !spec.is_container() || spec.name == "COMMAND") {
        let http = match spec.http {
            Http::Allowed => "yes".to_owned(),
            Http::Refused(why) => format!("no: {why}"),
        };
        let cells = [
            format!("`{}`", spec.name.replace('|', " ")),
            spec.since.to_owned(),
            spec.arity.number().to_string(),
            rights(spec),
            ttl(spec),
            http,
            spec.summary.to_owned(),
            spec.reply.to_owned(),
        ];
        page.push_str(&format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | ")));
    }
    page.push_str(
        "\n## Refused\n\nCommands of Valkey 8 that are not here. A request for one is answered with \
         `ERR … is not available: ` and the reason; one about a cluster as redis without a cluster answers it.\n\n\
         | command | why |\n| --- | --- |\n",
    );
    let mut refused = REFUSED.to_vec();
    refused.sort_by_key(|refused| refused.name);
    for Refused { name, why } in refused {
        page.push_str(&format!("| `{}` | {} |\n", name.replace('|', " "), why.text()));
    }
    page
}

/// The TTL of what a command writes, in words.
fn ttl(spec: &Spec) -> String {
    match spec.ttl {
        Ttl::None if spec.is_write() => "none".to_owned(),
        Ttl::None => String::new(),
        Ttl::Inherited(position) => format!("that of argument {position}"),
        Ttl::Of(_) => "as its arguments say".to_owned(),
    }
}

/// The IAM actions a command may need, in words.
fn rights(spec: &Spec) -> String {
    let mut needs: Vec<String> = Vec::new();
    let mut add = |need: String| {
        if !needs.contains(&need) {
            needs.push(need)
        }
    };
    for key in spec.keys.iter().filter(|key| !key.flags.has(KeyFlags::NOT_KEY)) {
        let actions = key.flags.actions().names().collect::<Vec<_>>().join("+");
        add(if key.flags_of.is_some() { format!("{actions} by its options") } else { actions });
    }
    match spec.beyond {
        Beyond::Nothing => {}
        Beyond::Cache(actions) => add(format!("{} on the cache", actions.names().collect::<Vec<_>>().join("+"))),
        Beyond::Publish => add("Publish".to_owned()),
        Beyond::Subscribe => add("Subscribe".to_owned()),
        Beyond::Patterns => add("Subscribe (cache)".to_owned()),
    }
    if needs.is_empty() { "nothing".to_owned() } else { needs.join(", ") }
}
