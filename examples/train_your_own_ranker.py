"""Fine-tune the shipped ranker on a small log of your own: about a minute on a CPU, no download.

The log is 60 pairs of a made-up help desk. Its editors keep the answer that says what to do and nothing else. They
reject the same answer between thanks and good wishes. The run starts from the ranker that ships with the package
(``encoder = "embedded"``), learns those pairs, and is judged on ten questions, and on wordings, that it has not seen:

    python examples/train_your_own_ranker.py [FOLDER]

It needs the ``train`` extra. ``docs/training.md`` explains every setting.
"""

import itertools
import json
import sys
import tempfile
from pathlib import Path

from blender_core.rank import EmbeddedRanker, Ranker
from blender_lab import RankerTrainingConfig, StepReport, finish_ranker, train_ranker

# question, what it is about, the answer that says what to do
QUESTIONS = [
    ("How do I reset my password?", "your password", "Open Settings, choose Security and click Reset password."),
    (
        "My invoice shows the wrong address.",
        "your invoice",
        "Correct it under Billing, then download the invoice again.",
    ),
    ("The app crashes when I open a photo.", "the app", "Update to version 4.2, which mends this crash."),
    (
        "Can I share a folder with a colleague?",
        "shared folders",
        "Right-click the folder, choose Share, enter the address.",
    ),
    (
        "I was charged twice this month.",
        "the payment",
        "Reply with both receipt numbers; one is refunded in three days.",
    ),
    ("How can I export my contacts?", "your contacts", "Go to Contacts, click the gear and choose Export as CSV."),
    ("The printer is offline.", "the printer", "Switch it off for ten seconds, then add it again under Devices."),
    ("Where do I change the language?", "the language", "Settings, General, Language; the page reloads at once."),
    ("My colleague has left. How do I remove her?", "your team", "Open Members, find her name and choose Remove."),
    ("Sync has stopped on my phone.", "the sync", "Turn on background refresh for the app and open it once."),
    ("How much storage do I have left?", "your storage", "Your free space stands at the bottom of the Files page."),
    (
        "I do not get the confirmation mail.",
        "the mail",
        "Look in the spam folder, then click Send again after a minute.",
    ),
    ("How do I cancel my plan?", "your plan", "Under Billing, choose Cancel plan; it runs to the end of the month."),
    ("The video has no sound.", "the video", "Click the loudspeaker in the player and raise the slider."),
    ("Can I use two accounts on one computer?", "your accounts", "Yes: click your picture and choose Add account."),
    (
        "How do I restore a deleted file?",
        "the file",
        "Open the bin, mark the file and click Restore; it is kept 30 days.",
    ),
    (
        "My code for the login does not work.",
        "the login",
        "Set your phone's clock to automatic, then request a new code.",
    ),
    ("How do I add my company's logo?", "your logo", "Upload a PNG of at least 200 pixels under Branding."),
    ("The report is empty.", "the report", "Choose a date range that has orders; the default is today only."),
    (
        "How do I change the owner of a project?",
        "the project",
        "Open the project, choose Transfer and pick the new owner.",
    ),
    ("The page loads very slowly.", "the page", "Disable browser extensions, then empty the cache with Ctrl+Shift+R."),
    ("Can I pay by bank transfer?", "the payment", "Yes, for yearly plans: choose Invoice at the last step."),
    ("How do I turn off notifications?", "notifications", "Click the bell, then Mute, and choose for how long."),
    ("My import fails at row 12.", "the import", "Row 12 has a comma in the price; use a point and import again."),
    ("Where do I find my licence key?", "your key", "It stands in the mail of your order and under Account, Licences."),
    ("The calendar shows the wrong time.", "the calendar", "Set your time zone under Settings, Calendar."),
    ("How do I merge two contacts?", "your contacts", "Mark both, click the three dots and choose Merge."),
    ("The search finds nothing.", "the search", "Remove the filter Archived only at the left of the list."),
    ("How do I print a label?", "the label", "Open the order, click Print label and choose A6 paper."),
    (
        "I cannot upload a large file.",
        "the upload",
        "Files above 2 GB need the desktop app; install it from Downloads.",
    ),
    # the last ten are held out
    ("How do I change my mail address?", "your address", "Open Profile, enter the new address and confirm the mail."),
    ("The camera stays black in calls.", "the camera", "Allow the camera in the browser's address bar, then reload."),
    (
        "How do I download all my data?",
        "your data",
        "Under Privacy, click Request archive; a link comes within an hour.",
    ),
    ("My discount code is refused.", "your code", "Enter it without spaces, and before you choose how to pay."),
    ("Can I undo sending a message?", "the message", "Yes, for 30 seconds: click Undo at the bottom left."),
    (
        "The table does not sort by date.",
        "the table",
        "Change the column's type from Text to Date, then click its head.",
    ),
    ("How do I invite a guest?", "your guest", "Click Invite, enter the address and choose the role Guest."),
    ("My order has not arrived.", "your order", "Open Orders and click Track; call the carrier with that number."),
    ("How do I use the app without a network?", "the app", "Mark the folders you need as Available offline first."),
    ("The font is too small.", "the font", "Press Ctrl and plus, or set 120% under Settings, Display."),
]

WORDY = [
    "Thank you so much for writing to us! {answer} We hope this helps, and we are always here for you!",
    "What a great question about {topic}! {answer} Please do not hesitate to ask us anything else at any time.",
    "We are so sorry to hear about {topic} and understand how annoying this is. {answer} Have a wonderful day!",
    "Hello and welcome! We are happy to help you with {topic} today. {answer} Your satisfaction matters to us.",
]
UNSEEN_WORDY = [
    "Many thanks for your patience with {topic}! {answer} Everyone here wishes you all the best.",
    "We are glad that you got in touch! {answer} Rest assured that {topic} is important to our whole team.",
]


def preference_pairs(questions: list[tuple[str, str, str]], wordy: list[str]) -> list[dict[str, str]]:
    """Two pairs for each question, with other wordy versions of its answer."""
    words = itertools.cycle(wordy)
    return [
        {"prompt": question, "chosen": answer, "rejected": next(words).format(topic=topic, answer=answer)}
        for question, topic, answer in questions
        for _ in range(2)
    ]


def accuracy(ranker: Ranker, pairs: list[dict[str, str]]) -> float:
    """Share of pairs whose chosen answer is ranked first."""
    right = [ranker.rank(pair["prompt"], [pair["rejected"], pair["chosen"]]).best == 1 for pair in pairs]
    return sum(right) / len(right)


def show(step: StepReport) -> None:
    """One line for each evaluation on the pairs that the run itself holds out."""
    if step.evaluation:
        print(f"  step {step.step}: loss {step.loss:.3f}, {step.evaluation['help_desk']:.0%} of its own held-out pairs")


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="own-ranker-"))
    folder.mkdir(parents=True, exist_ok=True)
    log = preference_pairs(QUESTIONS[:-10], WORDY)
    held_out = preference_pairs(QUESTIONS[-10:], UNSEEN_WORDY)
    (folder / "log.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in log), encoding="utf-8")

    config = RankerTrainingConfig.from_dict(
        {
            "encoder": "embedded",
            "output": str(folder / "run"),
            "sources": {"help_desk": {"file": "log.jsonl", "format": "chosen_rejected", "group": 2}},
            "stages": [{"max_tokens": 96}],
            "steps": 16,
            "records_per_step": 8,
            # two of the six layers learn: enough for so small a log, and twice as fast
            "freeze_layers": 4,
            "precision": "float32",
            "corruption": 0.25,
            "evaluate_every": 8,
            "development_share": 0.15,
        }
    )
    before = EmbeddedRanker.load()
    print(f"{len(log)} pairs to learn from, {len(held_out)} held out")
    print(f"shipped ranker: {accuracy(before, held_out):.0%} of the held-out pairs right")
    result = train_ranker(config, data=folder, report=show)
    finish_ranker(config, folder / "ranker", data=folder)
    own = EmbeddedRanker.load(folder / "ranker")
    print(f"your ranker:    {accuracy(own, held_out):.0%}, after {result.seconds:.0f} s of training")

    pair = held_out[0]
    answers = [pair["rejected"], pair["chosen"]]
    ranking = own.rank(pair["prompt"], answers)
    print(f"{pair['prompt']}\n  won: {answers[ranking.best]!r}, confidence {ranking.confidence:.2f}")
    print(f"use it: BlendedLLM(..., ranker=EmbeddedRanker.load({str(folder / 'ranker')!r}))")


if __name__ == "__main__":
    main()
