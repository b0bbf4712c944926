//! `/admin/settings`: the switches.

use super::{
    super::{
        deeds::SetAdvanced,
        screen::{Cell, Shown},
    },
    changed, system,
};
use crate::{
    model::Instant,
    store::{audit, dashboard},
};
use leptos::server_fn::ServerFn;
use sqlx::PgConnection;

pub(super) async fn list(conn: &mut PgConnection, now: Instant) -> sqlx::Result<Shown> {
    let advanced = dashboard::switch(conn, "advanced_metrics").await?.unwrap_or(true);
    let last = audit::newest_about(conn, &["advanced_metrics".to_owned()], "settings.").await?;
    let (verb, to) = if advanced { ("Hide them", "off") } else { ("Show them", "on") };
    Ok(Shown {
        title: "Settings".into(),
        lead: "Changes hold for everybody and are in the audit log.".into(),
        tabs: system::tabs("settings"),
        facts: vec![
            (
                "Advanced metrics on the dashboard".into(),
                Cell::Text(if advanced { "shown".into() } else { "hidden: basic monitoring only".into() }),
            ),
            changed(&last, now),
            ("Registry".into(), Cell::Link("/admin/settings/registry".into(), "tolerances, ranges, studies".into())),
            ("Change".into(), Cell::Buttons(vec![(verb.into(), SetAdvanced::url().into(), vec![("advanced".into(), to.into())])])),
            (
                "Pages".into(),
                Cell::Group(vec![
                    Cell::Link("/admin/users".into(), "Accounts".into()),
                    Cell::Link("/admin/audit".into(), "Audit log".into()),
                    Cell::Link("/admin/settings/retention".into(), "How long things are kept".into()),
                ]),
            ),
        ],
        ..Shown::default()
    })
}
