//! What cells print, show and fail with.

use http::Method;
use serde_json::json;
use wire::execute::Item;

use crate::harness::with_service;

#[test]
fn state_lasts_and_executions_are_counted() {
    with_service(|service| async move {
        let cell = service.run("x = 41\nprint('hi', 'é')\nx").await.well();
        assert_eq!(cell.0[0], Item::NumberOfExecutions { execution_count: 1 });
        assert_eq!((cell.stdout().as_str(), cell.text()), ("hi é\n", Some("41")));
        let cell = service.run("x + 1").await.well();
        assert_eq!(cell.0[0], Item::NumberOfExecutions { execution_count: 2 });
        assert_eq!(cell.text(), Some("42"));
    });
}

#[test]
fn health_follows_the_default_kernel() {
    with_service(|mut service| async move {
        assert_eq!(service.call(Method::GET, "/health", "").await.0, 503);
        service.ready.wait_for(|ready| *ready).await.unwrap();
        assert_eq!(
            service.call(Method::GET, "/health", "").await,
            (http::StatusCode::OK, "\"OK\"".to_owned())
        );
    });
}

#[test]
fn both_streams_keep_their_order() {
    with_service(|service| async move {
        let code = "import sys\nfor i in range(3):\n    print('o', i, flush=True)\n    print('e', i, file=sys.stderr, flush=True)";
        let cell = service.run(code).await.well();
        let seen: Vec<String> = cell
            .0
            .iter()
            .filter_map(|item| match item {
                Item::Stdout(output) | Item::Stderr(output) => {
                    assert!(output.timestamp.starts_with("20"), "{output:?}");
                    Some(output.text.trim().to_owned())
                }
                _ => None,
            })
            .collect();
        assert_eq!(seen.concat().replace(['\n', ' '], ""), "o0e0o1e1o2e2");
    });
}

#[test]
fn failures_carry_a_colourless_traceback() {
    with_service(|service| async move {
        let cell = service.run("def f():\n    return 1/0\nf()").await;
        let failure = cell.failure().expect("a failure");
        assert_eq!(
            (failure.name.as_str(), failure.value.as_str()),
            ("ZeroDivisionError", "division by zero")
        );
        assert!(failure.traceback.contains("line 3") && !failure.traceback.contains('\u{1b}'), "{failure:?}");
        assert_eq!(cell.0.last(), Some(&Item::EndOfExecution));
        for (code, name) in
            [("x = ", "SyntaxError"), ("input()", "StdinNotImplementedError"), ("exit(3)", "SystemExit")]
        {
            let cell = service.run(code).await;
            let found = cell.failure().map(|failure| failure.name.as_str());
            // IPython asks the front end to leave rather than raise, depending on its version.
            assert!(found == Some(name) || (name == "SystemExit" && found.is_none()), "{code}: {cell:?}");
            assert_eq!(cell.0.last(), Some(&Item::EndOfExecution));
        }
        assert_eq!(service.run("1").await.well().text(), Some("1"));
    });
}

#[test]
fn every_form_of_a_display_has_its_member() {
    with_service(|service| async move {
        let code = r#"
from IPython.display import display
display({"text/plain": "'q'", "text/html": "<b>", "text/markdown": "m", "image/svg+xml": "<svg/>", "image/jpeg": "AA==",
         "application/pdf": "AA==", "text/latex": "l", "application/json": [1], "application/javascript": "j", "x/y": {"k": "é"}}, raw=True)
{"a": [1, None], 2: "b"}
"#;
        let cell = service.run(code).await.well();
        let [shown, main] = cell.results()[..] else { panic!("{cell:?}") };
        assert_eq!(shown.text.as_deref(), Some("q"));
        assert_eq!(shown.html.as_deref(), Some("<b>"));
        assert_eq!(shown.markdown.as_deref(), Some("m"));
        assert_eq!(shown.svg.as_deref(), Some("<svg/>"));
        assert_eq!(shown.jpeg.as_deref(), Some("AA=="));
        assert_eq!(shown.pdf.as_deref(), Some("AA=="));
        assert_eq!(shown.latex.as_deref(), Some("l"));
        assert_eq!(shown.json, Some(json!([1])));
        assert_eq!(shown.javascript.as_deref(), Some("j"));
        assert_eq!(shown.extra["x/y"], json!({"k": "é"}));
        assert!(!shown.is_main_result && main.is_main_result);
        assert_eq!(main.json, Some(json!({"a": [1, null], "2": "b"})));
    });
}

#[test]
fn frames_come_with_their_columns() {
    with_service(|service| async move {
        let code = "import pandas as pd\npd.DataFrame({'a': [1, 2], 'b': [1.5, None], 't': [pd.Timestamp(0), pd.NaT]})";
        let cell = service.run(code).await.well();
        let expected = json!({"a": [1, 2], "b": [1.5, null], "t": ["1970-01-01T00:00:00", null]});
        assert_eq!(cell.results()[0].data, Some(expected));
        assert!(cell.results()[0].html.is_some());
    });
}

#[test]
fn figures_follow_the_result_with_picture_and_chart() {
    with_service(|service| async move {
        let code = "import matplotlib.pyplot as plt\nplt.plot([1, 2], [3, 4], label='l')\nplt.title('T')\n7";
        let cell = service.run(code).await.well();
        assert_eq!(cell.stderr(), "");
        let [main, figure] = cell.results()[..] else { panic!("{cell:?}") };
        assert_eq!(main.text.as_deref(), Some("7"));
        assert!(figure.png.as_ref().is_some_and(|png| png.starts_with("iVBOR")));
        let chart = figure.chart.as_ref().expect("a chart");
        assert_eq!((&chart["type"], &chart["title"]), (&json!("line"), &json!("T")));
        assert_eq!(chart["elements"][0], json!({"label": "l", "points": [[1.0, 3.0], [2.0, 4.0]]}));
    });
}

#[test]
fn saved_pictures_are_shown() {
    with_service(|service| async move {
        let cell = service.run("from PIL import Image\nImage.new('RGB', (2, 2)).save('a.png')").await.well();
        assert!(cell.results()[0].png.is_some());
        assert!(service.home().join("a.png").exists());
    });
}

#[test]
fn output_arrives_whole_however_much_and_whatever_it_is() {
    with_service(|service| async move {
        let cell = service.run("for i in range(50):\n    print('x' * (1 << 20))").await.well();
        assert_eq!(cell.stdout().len(), 50 * ((1 << 20) + 1));
        let many = "import sys\nfor i in range(5000):\n    print(i)\n    sys.stdout.flush()";
        let expected: String = (0..5000).map(|number| number.to_string() + "\n").collect();
        assert_eq!(service.run(many).await.well().stdout(), expected);
        let cell = service.run("import os\nos.write(1, b'a\\xff\\xfeb\\n')\nprint('\\ud800c')").await.well();
        assert!(cell.stdout().contains('c'), "{cell:?}");
        assert_eq!(
            service
                .run("import subprocess\nsubprocess.run(['echo', 'child']).returncode")
                .await
                .well()
                .text(),
            Some("0")
        );
    });
}
