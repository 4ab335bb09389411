//! Data goes in, numbers and a chart come out.

use base64::Engine as _;
use warren_sdk::{Config, Sandbox};

const DATA: &str = "month,sales\nJan,10\nFeb,14\nMar,9\n";

const CODE: &str = "
import csv, matplotlib.pyplot as plt
rows = list(csv.DictReader(open('/home/user/sales.csv')))
plt.bar([row['month'] for row in rows], [int(row['sales']) for row in rows])
plt.title('Sales')
plt.show()
sum(int(row['sales']) for row in rows)
";

pub(crate) async fn run(config: &Config) -> super::Outcome {
    let sandbox = Sandbox::create_with(config, super::with_code()).await?.scoped();
    sandbox.files().write("/home/user/sales.csv", DATA).await?;
    let execution = sandbox.run_code(CODE).await?;
    assert_eq!((execution.text(), &execution.error), (Some("33"), &None));
    let picture =
        execution.results.iter().find(|result| result.png.is_some()).ok_or("there is no picture")?;
    let png = base64::engine::general_purpose::STANDARD
        .decode(picture.png.as_deref().unwrap_or_default().trim())?;
    assert!(png.starts_with(b"\x89PNG"));
    let chart = picture.chart.as_ref().ok_or("there is no chart")?;
    println!("sum 33, a picture of {} bytes, a chart of type {}", png.len(), chart["type"]);
    assert_eq!((&chart["title"], &chart["type"]), (&"Sales".into(), &"bar".into()));
    sandbox.close().await?;
    Ok(())
}
