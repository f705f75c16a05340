//! `archy seeding show|set|pause|resume|app`: what the node gives away to other nodes.

use jiff::Zoned;
use serde_json::{Value, json};

use super::Context;
use super::store::{parse, resolve};
use crate::app::AppName;
use crate::cli::seeding::{
    Bound, MeteredRule, SeedingCommand, SeedingSetArgs, Size, Switch, Until,
};
use crate::failure::Failure;
use crate::node::Node;
use crate::node::types::{AppRef, SeedingApp, SeedingHours, SeedingPage};
use crate::text::{plain, size, table};

pub(super) async fn run(context: &Context<'_>, command: &SeedingCommand) -> Result<(), Failure> {
    let node = context.node()?;
    let mut answer: Value = node.call("seeding.show", &json!({})).await?;
    let mut policy = answer["policy"].clone();
    match command {
        SeedingCommand::Show => {}
        SeedingCommand::Set(arguments) => set(&mut policy, arguments),
        SeedingCommand::Pause { until } => pause(&mut policy, *until)?,
        SeedingCommand::Resume => {
            policy["paused"] = json!(false);
            policy["pausedUntil"] = Value::Null;
        }
        SeedingCommand::App { app, switch } => {
            let page: SeedingPage = parse(&answer)?;
            let app = named(&node, &page, app).await?;
            turn(&mut policy, &app, *switch);
        }
    }
    if !matches!(command, SeedingCommand::Show) {
        answer = node.call("seeding.set", &policy).await?;
    }
    let words = words(&parse(&answer)?);
    context.output.result(&answer, words);
    Ok(())
}

fn set(policy: &mut Value, arguments: &SeedingSetArgs) {
    let bytes = |bound: Bound<Size>| json!(bound.0.map(|size| size.0));
    let changes = [
        ("bytesPerSecond", arguments.rate.map(bytes)),
        ("peerBytesPerSecond", arguments.rate_per_node.map(bytes)),
        ("ratioMax", arguments.ratio.map(|ratio| json!(ratio.0))),
        ("monthBytesMax", arguments.budget.map(bytes)),
        (
            "treatAsMetered",
            arguments.treat_as_metered.map(|is| json!(is)),
        ),
    ];
    for (name, value) in changes {
        if let Some(value) = value {
            policy[name] = value;
        }
    }
    match arguments.metered {
        None => {}
        Some(MeteredRule::Never) => policy["metered"] = json!("never"),
        Some(MeteredRule::Usual) => policy["metered"] = json!("usual"),
        Some(MeteredRule::Limited(rate)) => {
            policy["metered"] = json!("limited");
            policy["meteredBytesPerSecond"] = json!(rate.0);
        }
    }
    let only = arguments.only.iter().map(|hours| hours.0.clone());
    let slow = arguments.slow.iter().map(|hours| hours.0.clone());
    let hours: Vec<Value> = only.chain(slow).collect();
    if arguments.any_hour || !hours.is_empty() {
        policy["hours"] = json!(hours);
    }
}

fn pause(policy: &mut Value, until: Option<Until>) -> Result<(), Failure> {
    let now = Zoned::now();
    let until = until.map(|until| {
        let at = until.timestamp(&now).filter(|at| *at > now.timestamp());
        at.ok_or_else(|| {
            Failure::usage("the pause would be over already").hint("--until takes a time to come")
        })
    });
    policy["paused"] = json!(true);
    policy["pausedUntil"] = json!(until.transpose()?.map(|at| at.to_string()));
    Ok(())
}

/// Finds the app that is meant: one that is here, or else one that the node knows.
async fn named(node: &Node, page: &SeedingPage, name: &AppName) -> Result<AppRef, Failure> {
    if let AppName::Short(slug) = name {
        let mut here = page.apps.iter().filter(|one| one.app.slug == slug.as_str());
        if let (Some(one), None) = (here.next(), here.next()) {
            return Ok(one.app.clone());
        }
    }
    resolve(node, name).await
}

fn turn(policy: &mut Value, app: &AppRef, switch: Switch) {
    let this = json!(app);
    let mut off = policy["appsOff"].as_array().cloned().unwrap_or_default();
    off.retain(|one| *one != this);
    if switch == Switch::Off {
        off.push(this);
    }
    policy["appsOff"] = json!(off);
}

fn words(page: &SeedingPage) -> String {
    let policy = &page.policy;
    let mut lines = vec![match page.state.mode.as_str() {
        "stopped" => "seeding     stopped; what you publish is given away all the same".to_owned(),
        "limited" => "seeding     limited".to_owned(),
        "unlimited" => "seeding     as fast as the link".to_owned(),
        mode => format!("seeding     {}", plain(mode)),
    }];
    let reasons = page.state.reasons.iter();
    lines.extend(reasons.map(|reason| format!("            {}", plain(&reason.text))));
    let budget = policy
        .month_bytes_max
        .map_or_else(String::new, |bytes| format!(" of {}", size(bytes)));
    lines.push(format!("this month  {}{budget}", size(page.month_bytes)));
    if let Some(ratio) = policy.ratio_max {
        lines.push(format!(
            "ratio       at most {ratio} of each version of an app"
        ));
    }
    lines.extend(policy.hours.iter().map(hours_words));
    lines.push(format!("metered     {}", metered_words(page)));
    let mut text = lines.join("\n");
    if !page.apps.is_empty() {
        let heading = ["APP", "GIVEN AWAY", "SIZE", "RATIO", ""].map(str::to_owned);
        let rows: Vec<Vec<String>> = std::iter::once(heading.to_vec())
            .chain(page.apps.iter().map(row))
            .collect();
        text.push_str("\n\n");
        text.push_str(table(&rows).trim_end());
    }
    text
}

fn hours_words(hours: &SeedingHours) -> String {
    let days: Vec<String> = hours.days.iter().map(|day| plain(day)).collect();
    let days = if days.len() == 7 {
        "every day".to_owned()
    } else {
        days.join(", ")
    };
    let rate = hours
        .bytes_per_second
        .map_or_else(String::new, |rate| format!(", at most {}/s", size(rate)));
    let rule = plain(&hours.rule);
    format!(
        "{rule:<12}{days} {}–{}{rate}",
        plain(&hours.from),
        plain(&hours.to)
    )
}

fn metered_words(page: &SeedingPage) -> String {
    let policy = &page.policy;
    let rule = match (policy.metered.as_str(), policy.metered_bytes_per_second) {
        ("never", _) => "nothing is given away".to_owned(),
        ("limited", Some(rate)) => format!("at most {}/s", size(rate)),
        ("usual", _) => "no other limit".to_owned(),
        (rule, _) => plain(rule),
    };
    let network = match (policy.treat_as_metered, page.network_metered) {
        (true, _) => "the network counts as metered, as you said",
        (false, Some(true)) => "the network is metered",
        (false, Some(false)) => "the network is not metered",
        (false, None) => "the machine does not say whether its network is metered",
    };
    format!("{rule} while the network is metered; {network}")
}

fn row(app: &SeedingApp) -> Vec<String> {
    let ratio = if app.size_bytes == 0 {
        String::new()
    } else {
        format!("{:.2}", app.uploaded_bytes as f64 / app.size_bytes as f64)
    };
    let note = match (app.published, app.on, app.ratio_reached) {
        (true, _, _) => "published from here",
        (false, false, _) => "off",
        (false, true, true) => "ratio reached",
        (false, true, false) => "",
    };
    vec![
        plain(&app.app.slug),
        size(app.uploaded_bytes),
        size(app.size_bytes),
        ratio,
        note.to_owned(),
    ]
}
