use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::task::Wake;
use std::task::{Context, Poll, Waker};

use super::*;

const MIB: usize = 1 << 20;

fn budget(node: usize, user: usize) -> Arc<NodeBudget> {
    NodeBudget::new(&Config {
        max_node_bytes: 2 * node,
        max_user_bytes: user,
        max_bytes_before_hello: 0,
        ..Config::default()
    })
}

fn incoming(budget: &NodeBudget, user: &str) -> Held {
    Held::new(budget.of_user(user).0)
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls once.
fn poll(ticket: &mut Ticket, woken: &Arc<Woken>) -> Poll<Reserved> {
    let waker = Waker::from(woken.clone());
    Pin::new(ticket).poll(&mut Context::from_waker(&waker))
}

fn is_ready(ticket: &mut Ticket) -> bool {
    match poll(ticket, &Arc::default()) {
        Poll::Ready(reserved) => {
            std::mem::forget(reserved);
            true
        }
        Poll::Pending => false,
    }
}

#[test]
fn what_is_held_counts_until_it_is_dropped() {
    let budget = budget(10 * MIB, 10 * MIB);
    let held = incoming(&budget, "anna");
    held.grow(1_000);
    assert_eq!(budget.in_use().incoming, 0, "so little is not counted");
    held.grow(MIB);
    assert_eq!(budget.in_use().incoming, MIB + 1_000 - 1_024);
    held.shrink(MIB);
    assert_eq!(budget.in_use().incoming, 0);
    held.grow(MIB);
    drop(held);
    assert_eq!(budget.in_use().incoming, 0);
}

#[test]
fn little_waits_for_nobody_and_much_needs_room() {
    let budget = budget(4 * MIB, 2 * MIB);
    let (anna, berta) = (incoming(&budget, "anna"), incoming(&budget, "berta"));
    assert!(anna.try_grow(2 * MIB));
    let (second, third) = (incoming(&budget, "anna"), incoming(&budget, "carla"));
    assert!(second.try_grow(SMALL), "little passes");
    assert!(!second.try_grow(1), "what adds up does not");
    assert_eq!(second.room(SMALL), 0, "his share is used up");
    assert!(
        berta.try_grow(MIB + MIB / 2),
        "which is not the others' loss"
    );
    assert!(!third.try_grow(MIB), "until the node has no more");
    assert!(third.try_grow(SMALL));
}

#[test]
fn those_who_wait_have_their_turn_in_order() {
    let budget = budget(10 * MIB, 10 * MIB);
    let first = incoming(&budget, "anna");
    assert!(first.try_grow(10 * MIB));
    let users: Vec<_> = (0..3)
        .map(|n| incoming(&budget, &format!("u{n}")))
        .collect();
    let woken: Vec<Arc<Woken>> = (0..3).map(|_| Arc::default()).collect();
    let sizes = [4 * MIB, MIB, 4 * MIB];
    let mut tickets: Vec<_> = users
        .iter()
        .zip(sizes)
        .map(|(it, size)| it.wait(size))
        .collect();
    for (ticket, woken) in tickets.iter_mut().zip(&woken) {
        assert!(poll(ticket, woken).is_pending());
    }
    assert_eq!(budget.in_use().readers_waiting, 3);
    let woken = || -> Vec<_> { woken.iter().map(|it| it.0.load(Ordering::SeqCst)).collect() };
    first.shrink(3 * MIB);
    assert_eq!(
        woken(),
        [0, 0, 0],
        "the second would have room, but is not the first"
    );
    assert!(!users[1].try_grow(MIB), "nor does a newcomer overtake");
    first.shrink(2 * MIB);
    assert_eq!(woken(), [1, 1, 0]);
    assert!(is_ready(&mut tickets[0]) && is_ready(&mut tickets[1]));
    first.shrink(4 * MIB);
    assert_eq!(woken(), [1, 1, 1]);
    assert!(is_ready(&mut tickets[2]));
    assert_eq!(budget.in_use().readers_waiting, 0);
}

#[test]
fn whoever_has_used_up_his_share_keeps_nobody_else_waiting() {
    let budget = budget(10 * MIB, 4 * MIB);
    let (greedy, anna) = (incoming(&budget, "greedy"), incoming(&budget, "anna"));
    assert!(greedy.try_grow(4 * MIB));
    let mut waiting: Vec<_> = (0..10).map(|_| greedy.wait(MIB)).collect();
    assert!(
        !anna.try_grow(MIB),
        "somebody waits, so the queue is looked at"
    );
    assert!(is_ready(&mut anna.wait(MIB)), "and he is passed over");
    greedy.shrink(MIB + 1_024);
    let ready: Vec<_> = waiting.iter_mut().map(is_ready).collect();
    assert_eq!(ready.iter().filter(|it| **it).count(), 1);
    assert!(ready[0]);
}

#[test]
fn who_gives_up_waiting_makes_way() {
    let budget = budget(4 * MIB, 4 * MIB);
    let held = incoming(&budget, "anna");
    assert!(held.try_grow(3 * MIB));
    let other = incoming(&budget, "berta");
    let first = other.wait(2 * MIB);
    let mut second = other.wait(MIB);
    assert!(
        !is_ready(&mut second),
        "it would have room, but is not the first"
    );
    drop(first);
    assert!(is_ready(&mut second));
    // The waiter's turn has come, but the waiter is gone.
    held.shrink(MIB);
    drop(other.wait(MIB));
    assert!(other.try_grow(MIB));
}

#[test]
fn what_is_reserved_moves_with_its_connection() {
    let node = NodeBudget::new(&Config::default());
    let held = Held::new(node.before_hello().0);
    assert!(held.try_grow(MIB));
    let mut ticket = held.wait(MIB);
    assert_eq!(node.in_use().before_hello, 2 * MIB - 1_024);
    held.move_to(node.of_user("anna").0);
    let Poll::Ready(reserved) = poll(&mut ticket, &Arc::default()) else {
        panic!("there is room");
    };
    held.grow_by(reserved, MIB);
    let in_use = node.in_use();
    assert_eq!((in_use.before_hello, in_use.incoming), (0, 2 * MIB - 1_024));
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _reserved = held.try_reserve(MIB).expect("there is room");
        let _held = held;
        panic!("as the application's code may");
    }));
    assert!(unwound.is_err());
    assert_eq!(node.in_use().incoming, 0);
}

#[test]
fn shares_of_users_who_left_are_forgotten() {
    let node = NodeBudget::new(&Config::default());
    let anna = incoming(&node, "anna");
    for number in 0..1_000 {
        incoming(&node, &number.to_string()).grow(MIB);
    }
    let users = node.users.lock().unwrap();
    assert!(users.shares.len() <= 130, "{}", users.shares.len());
    assert!(users.shares["anna"].strong_count() > 0);
    drop((users, anna));
}

/// Many threads take turns in a budget that is too small for two at a time: each gets its turn, and all bytes are given
/// back.
#[test]
fn no_wake_up_is_lost() {
    let node = budget(4 * MIB, 3 * MIB);
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let node = node.clone();
            std::thread::spawn(move || {
                for round in 0..2_000 {
                    let held = incoming(&node, ["anna", "berta", "carla"][thread % 3]);
                    let bytes = 2 * MIB + (thread * 31 + round) % 1_000;
                    if !held.try_grow(bytes) {
                        let reserved = block_on(held.wait(bytes));
                        held.grow_by(reserved, bytes);
                    }
                    assert!(node.in_use().incoming <= 4 * MIB);
                    if round % 7 == 0 {
                        drop(held.wait(bytes));
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("each has its turn");
    }
    let in_use = node.in_use();
    assert_eq!((in_use.incoming, in_use.readers_waiting), (0, 0));
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on(mut ticket: Ticket) -> Reserved {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match Pin::new(&mut ticket).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(reserved) => return reserved,
            Poll::Pending => {
                let from = std::time::Instant::now();
                let patience = std::time::Duration::from_secs(30);
                std::thread::park_timeout(patience);
                assert!(from.elapsed() < patience, "its turn does not come");
            }
        }
    }
}
