"""`fedjax-rec audit privacy`: what attacks find in a run."""

from pathlib import Path

from fedjax_rec.cli.plugins import load_plugins, refuse_missing_plugins
from fedjax_rec.cli.process import prepare_process
from fedjax_rec.cli.run import goes_on_with_audit, prepare_folder
from fedjax_rec.config import load_preset


def audit_privacy_of(
    preset: str,
    overrides: tuple[str, ...],
    *,
    output: Path | None,
    num_clients: int,
    plugins: tuple[str, ...],
    no_resume: bool,
) -> int:
    """Attacks a run of a preset, writes `privacy_audit.json` and prints a line an attack."""
    config = load_preset(preset, overrides)
    tell_settings = prepare_process()

    from fedjax_rec.audit import audit_privacy
    from fedjax_rec.data.reading import print_notice
    from fedjax_rec.experiment import resolve
    from fedjax_rec.simulation.locking import only_run_in
    from fedjax_rec.simulation.records import write_json

    load_plugins(plugins)
    folder = output or Path("audits") / "privacy" / Path(preset).with_suffix("")
    if not no_resume:
        refuse_missing_plugins(folder)
    config = resolve(config)
    is_going_on = goes_on_with_audit(folder, config, no_resume=no_resume)
    tell_settings()
    command = ["fedjax-rec", "audit", "privacy", preset, "--clients", str(num_clients)]
    command += [word for plugin in plugins for word in ("--plugin", plugin)]
    command += overrides
    with only_run_in(folder):
        prepare_folder(folder, config, command, is_going_on=is_going_on)
        found = audit_privacy(
            config,
            folder,
            num_clients=num_clients,
            resume=is_going_on,
            report=lambda told: print(f"round {told.round} of {told.rounds}"),
            notice=print_notice,
        )
    if found is None:
        print("interrupted: saved; the same command goes on")
        return 130
    write_json(folder / "privacy_audit.json", found._asdict())
    _print_findings(found.attacks, found.notes)
    print(f"written to {folder / 'privacy_audit.json'}")
    return 0


def _print_findings(attacks: dict[str, dict[str, object]], notes: list[str]) -> None:
    print(f"{'attack':<24}{'AUC':>8}{'n':>8}  sees")
    for name, found in attacks.items():
        area = found["auc"]
        shown = f"{area:.3f}" if isinstance(area, float) else "-"
        print(f"{name:<24}{shown:>8}{found['n']:>8}  {found['sees']}")
    if bound := attacks.get("canaries"):
        print(
            f"epsilon is at least {bound['epsilon_lower_bound']:.2f} at delta {bound['delta']:g}, "
            "with 95 % confidence"
        )
    for note in notes:
        print(note)
