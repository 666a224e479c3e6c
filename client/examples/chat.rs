//! A chat with one other user, line by line: `chat --with USER --token TOKEN [--url URL]`.

use anyhow::Context;
use tidegate_client::{Config, Content, Event, Sequence, UserId, connect};
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let with = argument("--with").context("say with whom: --with USER")?.parse().map(UserId)?;
    let token = argument("--token").context("give a token: --token \"$(tidegate token --user N)\"")?;
    let url = argument("--url").unwrap_or_else(|| "ws://127.0.0.1:9000/ws".to_owned());

    let (client, mut events) = connect(Config::new(url, token));
    let conversation = client.create_direct(with).await?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => {
                let Some(line) = line? else { break };
                let sender = client.clone();
                // In a task of its own, so that events go on while the message is on its way.
                tokio::spawn(async move {
                    match sender.send(conversation, Content::Text(line)).await {
                        Ok(ack) => eprintln!("[{} is durable]", ack.seq),
                        Err(error) => eprintln!("[not sent: {error}]"),
                    }
                });
            }
            event = events.next() => match event {
                Some(Event::Message(message)) if message.conversation == conversation => {
                    let text = message.content.as_text().unwrap_or("(not text)");
                    println!("{:>4}  user {}: {text}", message.seq, message.sender);
                    client.read(conversation, message.seq).await;
                }
                Some(Event::Receipt { user, read_up_to, .. }) if read_up_to > Sequence(0) => {
                    eprintln!("[user {user} has read up to {read_up_to}]");
                }
                Some(Event::Disconnected { reason, retry_in }) => eprintln!("[{reason}; next try in {retry_in:?}]"),
                Some(Event::Stopped { reason }) => anyhow::bail!("stopped: {reason}"),
                Some(_) => {}
                None => break,
            }
        }
    }
    client.close().await;
    Ok(())
}

fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}
