"""Every error that fnmodel raises on purpose.

    FnmodelError                 exit
    ├── UsageError                 2   FNM-U001  the command cannot mean that
    │   └── ConfigError            2   FNM-C001  fnmodel.yaml, all problems at once
    ├── SlimError                  1   FNM-S001  the model cannot be read or converted
    │   ├── MissingExtraError      1   FNM-S002  a framework is not installed
    │   ├── UnsupportedModelError  1   FNM-S003  no converter for this model
    │   ├── ParityError            4   FNM-S004  ONNX answers differ from the original's
    │   └── UntrustedModelError    1   FNM-S005  the model file uses code that nobody allowed
    ├── PackError                  1   FNM-P001  the image cannot be built
    │   ├── LockError              1   FNM-P002  a dependency cannot be resolved from the locks
    │   ├── ImageLimitError        1   FNM-P003  Lambda would refuse this image
    │   └── SigningError           1   FNM-P004  a key cannot be used to sign or verify
    │       └── SignatureError     4   FNM-P005  an image is not signed by a trusted key
    ├── RegistryError              1   FNM-R001  the registry refused or broke off
    ├── ProvisionError             1   FNM-V001  CloudFormation refused or failed
    │   ├── StackNotFoundError     1   FNM-V002  nothing is deployed in that stage
    │   ├── PlanError              1   FNM-V003  a saved plan cannot be read
    │   │   └── StalePlanError     5   FNM-V004  a saved plan is not of the world as it is now
    │   └── StackBusyError         5   FNM-V005  someone else changes the stack
    ├── ReleaseError               1   FNM-L001  a version cannot be published or moved
    │   ├── GateError              4   FNM-L002  a version failed its gate; traffic was not moved
    │   │   └── QualityError       4   FNM-L005  a model failed a gate that fnmodel.yaml declares
    │   ├── RolledBackError        4   FNM-L007  a rollout took a version's requests away again
    │   ├── StagesDifferError      4   FNM-L008  two stages differ in what nobody asked for
    │   ├── LockHeldError          5   FNM-L003  someone else is releasing
    │   ├── ConflictError          5   FNM-L004  the alias moved under us
    │   └── AuditError             1   FNM-L006  the ledger, or a copy of it, was changed
    ├── AccessError                6   FNM-K001  the endpoint does not let this caller in
    ├── InputError                 1   FNM-I001  a request or a row does not fit the signature
    │   ├── DeadlineError          1   FNM-I003  the model needs more time than there is
    │   └── CapacityError          1   FNM-I004  the model needs more memory than there is
    ├── ProcessingError            1   FNM-I002  the project's own processing.py fails
    ├── BatchError                 1   FNM-B001  a batch job cannot run or went over its budget
    │   └── UnfinishedError        1   FNM-B002  a batch job needs another attempt
    ├── DriftError                 4   FNM-W001  captured rows are not as they should be
    ├── AlertError                 1   FNM-W002  an alert cannot be delivered
    ├── PipelineError              1   FNM-W003  a step of the pipeline failed
    ├── LocalError                 1   FNM-E001  the embedded cloud cannot start or answer
    ├── AwsError                   1   FNM-A001  AWS refused a call
    │   ├── CredentialsError       6   FNM-A002  no credentials, or expired ones
    │   │   └── WrongAccountError  6   FNM-A005  the credentials are of another account
    │   ├── ThrottledError         7   FNM-A003  AWS asks to slow down, or a quota is used up
    │   └── EndpointError          1   FNM-A004  AWS could not be reached
    │       └── UnansweredError    1   FNM-A006  a call was sent, and no answer came in time
    └── InterruptedRunError      130   FNM-X130  stopped by a signal

A message says what is wrong and where; a hint says what to do next. Classes that end in -Error here
are the user's or the world's to mend; a built-in exception that reaches the user is our bug.
"""

from collections.abc import Sequence
from typing import ClassVar


class FnmodelError(Exception):
    """An error with a message (what, where), a hint (what to do next), a code and an exit code."""

    code: ClassVar[str] = "FNM-0000"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def about(self, what: str) -> None:
        """Put in front of the message which one of several this is about."""
        self.message = f"{what}: {self.message}"
        self.args = (self.message,)


class UsageError(FnmodelError):
    """The arguments or flags contradict each other, or name something that does not exist.

    Run the command with `--help`: it shows an example.
    """

    code = "FNM-U001"
    exit_code = 2


class ConfigError(UsageError):
    """`fnmodel.yaml` has problems; all of them are listed, each with its line.

    Mend each listed line. An unknown key comes with the nearest known one.
    """

    code = "FNM-C001"

    def __init__(self, path: str, problems: Sequence[str], *, hint: str = "") -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("\n  ".join([f"{path} has {count}:", *problems]), hint=hint)
        self.path = path
        self.problems = tuple(problems)


class SlimError(FnmodelError):
    """The model file cannot be read, its signature cannot be found, or its conversion failed.

    The message carries the converter's own words. A sample (`sample:` in fnmodel.yaml) settles
    most questions about names and types.
    """

    code = "FNM-S001"


class MissingExtraError(SlimError):
    """The framework that made this model is not installed here.

    Install the extra that the hint names, in the environment that runs fnmodel.
    """

    code = "FNM-S002"


class UnsupportedModelError(SlimError):
    """No converter turns this kind of model, or one step of it, into ONNX.

    The message names the step. Replace that step, or move it out of the model.
    """

    code = "FNM-S003"


class ParityError(SlimError):
    """The ONNX model answers differently from the original, beyond the budget.

    The report lists the worst rows. A wrong conversion must not be served; raise the budget
    (`parity:` in fnmodel.yaml) only when those rows are understood.
    """

    code = "FNM-S004"
    exit_code = 4


class UntrustedModelError(SlimError):
    """The model file would run code that is neither a known library's model nor trusted by name.

    Reading such a file runs that code. Trust your own classes by their full names (`--trust NAME`,
    or `trust:` in fnmodel.yaml); do not use a file that needs anything else.
    """

    code = "FNM-S005"


class PackError(FnmodelError):
    """The image cannot be built from these inputs."""

    code = "FNM-P001"


class LockError(PackError):
    """A dependency cannot be had in the version, with the hash, or for the platform of the lock.

    Renew the locks with `make lock`, or check the package index that uv is configured to use.
    """

    code = "FNM-P002"


class ImageLimitError(PackError):
    """Lambda would refuse this image: too large, wrong architecture, or a file it rejects."""

    code = "FNM-P003"


class SigningError(PackError):
    """A key of `signing:` cannot be read, decrypted or used, or `cryptography` is not installed.

    The message names the file. `fnmodel keygen` makes a pair of keys; the password of an encrypted
    one is read from FNMODEL_SIGNING_PASSWORD.
    """

    code = "FNM-P004"


class SignatureError(SigningError):
    """An image has no signature by a key of `signing.trusted`, so it was not deployed.

    The signature is missing, of another key, or of another image. `fnmodel inspect` shows it.
    What served before still serves.
    """

    code = "FNM-P005"
    exit_code = 4


class RegistryError(FnmodelError):
    """The container registry refused a request, or the connection broke too often.

    A push can be repeated: what has arrived is not sent again.
    """

    code = "FNM-R001"


class ProvisionError(FnmodelError):
    """CloudFormation refused the template or a resource failed.

    The message names the first resource that failed and AWS's reason. A failed update has rolled
    back by itself; the same command can be run again.
    """

    code = "FNM-V001"


class StackNotFoundError(ProvisionError):
    """Nothing is deployed under this name in this stage. Deploy it first."""

    code = "FNM-V002"


class PlanError(ProvisionError):
    """A file is no saved plan, was changed or cut off, or was written by another version.

    Plan again: `fnmodel plan --out FILE`.
    """

    code = "FNM-V003"


class StalePlanError(PlanError):
    """Something has changed since the plan was saved, or the plan was applied already.

    The message lists what. Nothing was changed. Plan again, look at what it says now, and apply
    that.
    """

    code = "FNM-V004"
    exit_code = 5


class StackBusyError(ProvisionError):
    """Someone else planned, changed or deleted the stack at the same time.

    CloudFormation lets one of them through and does not say who that was: the stack's events in
    CloudTrail do. Nothing of this run was applied; run the same command again.
    """

    code = "FNM-V005"
    exit_code = 5


class ReleaseError(FnmodelError):
    """A version cannot be published, or traffic cannot be moved as asked."""

    code = "FNM-L001"


class GateError(ReleaseError):
    """A published version failed its gate, so it got no traffic.

    The version that served before still serves. `fnmodel logs --version N` shows what it said.
    """

    code = "FNM-L002"
    exit_code = 4


class QualityError(GateError):
    """A model failed a gate of `fnmodel.yaml`: a metric, fairness, latency or size.

    The message lists every failed gate with its figures. Nothing was published; the version that
    served before still serves.
    """

    code = "FNM-L005"


class RolledBackError(ReleaseError):
    """A rollout ended with the stable version: the candidate failed a check, or somebody aborted.

    The message has the reason, `fnmodel rollout status` every check. Mend the model and deploy it;
    the version that was rolled back is tried again only by name: `fnmodel shift 10 --version N`.
    """

    code = "FNM-L007"
    exit_code = 4


class StagesDifferError(ReleaseError):
    """`fnmodel parity` found that two stages differ in what fnmodel.yaml does not ask for.

    The table lists each difference. `fnmodel promote --from A --to B` brings the same image; a
    deploy of the stage brings what fnmodel.yaml says of it.
    """

    code = "FNM-L008"
    exit_code = 4


class LockHeldError(ReleaseError):
    """Another release of this model in this stage is under way.

    Wait for it, or for its lease to end; the message says who holds it and until when.
    """

    code = "FNM-L003"
    exit_code = 5


class ConflictError(ReleaseError):
    """The alias or the ledger changed between reading and writing, so nothing was written.

    Look at `fnmodel status` and decide again.
    """

    code = "FNM-L004"
    exit_code = 5


class AuditError(ReleaseError):
    """The release ledger is not what was written to it, or not what its locked copies hold.

    The message names the entries. A copy is locked, so that it says what was written; the table's
    point-in-time recovery has the ledger as it was. Find out who may write to the table.
    """

    code = "FNM-L006"


class AccessError(FnmodelError):
    """The endpoint did not let this caller in: no key, token or signature, or one that is not good.

    `fnmodel status` says who may call the stage. A key is read from FNMODEL_API_KEY, a token from
    FNMODEL_TOKEN; requests to a stage with `iam` are signed with the AWS credentials, which need
    the permission `execute-api:Invoke` on its API.
    """

    code = "FNM-K001"
    exit_code = 6


class InputError(FnmodelError):
    """A request or a row does not fit the model's signature; the message names row and field."""

    code = "FNM-I001"


class DeadlineError(InputError):
    """The model was stopped, since its answer would have come too late.

    Send fewer rows, give the function more memory (its CPU grows with it), or use batch.
    """

    code = "FNM-I003"


class CapacityError(InputError):
    """The model asks for more memory than the function or the container has.

    Send fewer rows or shorter texts, give it more memory, or use batch.
    """

    code = "FNM-I004"


class ProcessingError(FnmodelError):
    """The project's own `processing.py` fails, or does not return a row for each row.

    The message names the function and the line. Mend that file; a ValueError that it raises is
    told to the caller instead.
    """

    code = "FNM-I002"


class BatchError(FnmodelError):
    """A batch job cannot run, or more rows failed than its error budget allows."""

    code = "FNM-B001"


class UnfinishedError(BatchError):
    """A batch job ran out of time, or waits for another run of it; the next attempt goes on.

    What has a receipt is not scored again.
    """

    code = "FNM-B002"


class DriftError(FnmodelError):
    """`fnmodel watch report --check` found something to look at.

    The page says what changed, by how much, and what to look at first.
    """

    code = "FNM-W001"
    exit_code = 4


class AlertError(FnmodelError):
    """An alert could not be delivered to one of its receivers.

    The message names the receiver and what it said. The next run of the watch sends it again, and
    only there; mend the receiver, its secret, or `watch:` in fnmodel.yaml.
    """

    code = "FNM-W002"


class PipelineError(FnmodelError):
    """A step of `pipeline:` ended with an error; the steps after it were not run.

    The step's own output says why. `fnmodel run STEP…` runs from there by naming the steps.
    """

    code = "FNM-W003"


class LocalError(FnmodelError):
    """The embedded cloud cannot start, is not running, or did not answer.

    `fnmodel doctor` says what is missing; the log is in `FNMODEL_HOME/local/emulator.log`.
    """

    code = "FNM-E001"


class AwsError(FnmodelError):
    """AWS refused a call; the message carries the service's own words."""

    code = "FNM-A001"


class CredentialsError(AwsError):
    """There are no AWS credentials, or they have expired.

    Renew them (`aws sso login`, or set AWS_PROFILE), then run the same command again. Or add
    `--local` to use the embedded cloud, which needs none.
    """

    code = "FNM-A002"
    exit_code = 6


class WrongAccountError(CredentialsError):
    """The AWS credentials are of another account than the stage's `account` in fnmodel.yaml.

    Nothing was read or changed there. Name the right profile (`profile:` or `role:` of the stage,
    `--profile`, AWS_PROFILE), or correct `account`.
    """

    code = "FNM-A005"


class ThrottledError(AwsError):
    """AWS throttles the calls of this account, or a quota is used up. Nothing was half done."""

    code = "FNM-A003"
    exit_code = 7


class EndpointError(AwsError):
    """The AWS endpoint could not be reached: network, region, or AWS_ENDPOINT_URL."""

    code = "FNM-A004"


class UnansweredError(EndpointError):
    """A call was sent, and its answer did not come in time; it may have been carried out."""

    code = "FNM-A006"


class InterruptedRunError(FnmodelError):
    """The run was stopped by a signal. Run the same command again: it goes on where it was."""

    code = "FNM-X130"
    exit_code = 130


def by_code() -> dict[str, type[FnmodelError]]:
    """Return every class of the tree by its code; subclasses elsewhere share their parent's."""
    kinds = [kind for kind in globals().values() if isinstance(kind, type)]
    tree = [kind for kind in kinds if issubclass(kind, FnmodelError) and kind is not FnmodelError]
    return {kind.code: kind for kind in sorted(tree, key=lambda kind: kind.code)}
