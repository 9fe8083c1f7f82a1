//! Steps that are refused before anything is done for them, and steps that are cut off half-way.

use super::*;

#[test]
fn what_there_is_no_room_for_is_not_even_sealed() {
    let ids = |refused: usize| {
        let mut setting = Setting::new(&json!({"key": {"env": "SEAL"}, "client_jobs_max": 1}));
        let first = setting.submit(NOW, "one");
        for _ in 0..refused {
            assert_eq!(setting.try_submit(&submission("one")), Err(NotStored::Full));
        }
        (first, setting.submit(NOW, "two"))
    };
    assert_eq!(ids(3), ids(0), "nothing that sealing needs was drawn");
}

#[test]
fn what_is_sealed_is_counted_at_its_length() {
    for key in [json!({}), json!({"key": {"env": "SEAL"}})] {
        let mut setting = Setting::new(&key);
        let id = setting.submit(NOW, "one");
        assert_eq!(setting.disk.body(&id).unwrap().len() as u64, setting.queue.index.bytes());
    }
}

#[test]
fn after_a_step_that_was_cut_off_only_what_is_stored_is_believed() {
    let mut setting = Setting::new(&json!({}));
    let running = setting.submit(NOW, "one");
    assert_eq!(setting.begin(NOW).as_ref(), Some(&running));
    setting.queue.index.take(&running);
    setting.disk.breaks(true);
    assert!(setting.queue.take_up(NOW).is_err(), "later, then");
    setting.disk.breaks(false);
    setting.queue.take_up(NOW).unwrap();
    assert_eq!(setting.look(NOW, &running)["status"], "pending");
    assert_eq!(setting.run(NOW, &answer("yes")), running, "it is carried out again");
    assert_eq!(setting.look(NOW, &running)["status"], "done");
}

/// A client that gives two questions one key has made a mistake: it gets no answer rather than the wrong one.
#[test]
fn a_key_of_one_request_is_no_key_to_its_answer_for_another() {
    for sealed in [json!({}), json!({"key": {"env": "QUEUE_KEY"}})] {
        let mut setting = Setting::new(&sealed);
        let id = setting.try_submit(&named("one", "k")).unwrap();
        let other =
            Submission { body: Bytes::from_static(br#"{"model":"default","messages":[1]}"#), ..named("one", "k") };
        assert_eq!(setting.try_submit(&other), Err(NotStored::KeyTaken));
        let elsewhere = Submission { surface: Surface::Messages, ..named("one", "k") };
        assert_eq!(setting.try_submit(&elsewhere), Err(NotStored::KeyTaken));
        setting.run(NOW, &answer(""));
        setting.restart(NOW);
        assert_eq!(setting.try_submit(&other), Err(NotStored::KeyTaken), "over, and after a crash");
        assert_eq!(setting.try_submit(&named("one", "k")), Ok(id));
    }
}
