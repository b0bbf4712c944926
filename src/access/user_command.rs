//! `assay user …`: accounts from the server's own command line, for the first hour and the worst day.

use super::{account, account::valid_email, password};
use crate::{
    model::Role,
    store::{Db, accounts, audit, audit::Actor},
};
use serde_json::json;

/// Makes, lists and disables accounts.
#[derive(Debug, Clone, clap::Args)]
pub struct UserArgs {
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum UserCommand {
    /// Makes an account and prints its password once.
    Add {
        /// The e-mail address to log in with.
        #[arg(long)]
        email: String,
        /// admin or trainer.
        #[arg(long)]
        role: String,
    },
    /// Lists all accounts.
    List,
    /// Gives an account a new password, prints it once and ends its sessions.
    Password {
        /// The account.
        #[arg(long)]
        email: String,
    },
    /// Shuts an account out and ends its sessions.
    Disable {
        /// The account.
        #[arg(long)]
        email: String,
    },
    /// Lets a disabled account in again.
    Enable {
        /// The account.
        #[arg(long)]
        email: String,
    },
}

/// Does what was asked and prints the outcome.
///
/// # Errors
/// A sentence for the terminal.
pub async fn run(db: &Db, args: UserArgs) -> Result<(), String> {
    for line in lines(db, args.command).await? {
        println!("{line}");
    }
    Ok(())
}

async fn lines(db: &Db, command: UserCommand) -> Result<Vec<String>, String> {
    let actor = Actor { name: "command line".into(), ..Actor::system() };
    let text = |e: &dyn std::fmt::Display| e.to_string();
    match command {
        UserCommand::Add { email, role } => {
            let role = Role::from_word(&role).ok_or("The role is admin or trainer.")?;
            let email = valid_email(&email).map_err(|e| text(&e))?;
            let secret = add(db, &actor, &email, role).await?;
            Ok(vec![format!("Made {email} ({}).", role.word()), format!("Password, shown once: {secret}")])
        }
        UserCommand::List => {
            let all = accounts::list_all(db).await.map_err(|e| text(&e))?;
            Ok(all
                .iter()
                .map(|a| format!("{:<40} {:<8} {}", a.email, a.role, if a.disabled_at.is_some() { "disabled" } else { "active" }))
                .collect())
        }
        UserCommand::Password { email } => {
            let secret = account::reset_password(db, &actor, id_of(db, &email).await?).await.map_err(|e| text(&e))?;
            Ok(vec![format!("Password of {email}, shown once: {secret}"), "Its sessions have ended.".into()])
        }
        UserCommand::Disable { email } => {
            account::set_disabled(db, &actor, id_of(db, &email).await?, true).await.map_err(|e| text(&e))?;
            Ok(vec![format!("{email} is shut out; its sessions have ended.")])
        }
        UserCommand::Enable { email } => {
            account::set_disabled(db, &actor, id_of(db, &email).await?, false).await.map_err(|e| text(&e))?;
            Ok(vec![format!("{email} may log in again.")])
        }
    }
}

async fn add(db: &Db, actor: &Actor, email: &str, role: Role) -> Result<String, String> {
    let secret = password::generate();
    let hash = password::hash(secret.clone()).await.map_err(|e| e.to_string())?;
    let mut tx = db.begin_service().await.map_err(|e| e.to_string())?;
    let id = accounts::add(&mut *tx, email, "", role, Some(&hash)).await.map_err(|e| e.to_string())?;
    let id = id.ok_or_else(|| format!("There is an account {email} already; `assay user password` gives it a new password."))?;
    audit::write(&mut *tx, actor, "account.add", Some(&id.to_string()), &json!({ "email": email, "role": role.word() }))
        .await
        .map_err(|e| e.to_string())?;
    tx.commit().await.map_err(|e| e.to_string())?;
    Ok(secret)
}

async fn id_of(db: &Db, email: &str) -> Result<uuid::Uuid, String> {
    let found = accounts::by_email(db.service(), email.trim()).await.map_err(|e| e.to_string())?;
    Ok(found.ok_or_else(|| format!("There is no account {email}; `assay user list` shows them all."))?.id)
}
