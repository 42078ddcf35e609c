"""Of the store as dictionaries: sessions, jobs, webhooks, domains, and requests that are done once."""

from collections.abc import Sequence

from hutch.model import errors
from hutch.model.domains import Domain
from hutch.model.ids import MachineId, SessionId, TenantId
from hutch.model.jobs import Job, JobState
from hutch.model.sessions import Session
from hutch.model.webhooks import Delivery, Webhook
from hutch.store.interface import Attempt, Horizon


class MemoryWork:
    """As `interface.WorkRecords`, `WebhookRecords`, `DomainRecords` and `AttemptRecords`."""

    def __init__(self) -> None:
        self._sessions: dict[tuple[MachineId, SessionId], Session] = {}
        self._jobs: dict[str, Job] = {}
        self._webhooks: dict[str, Webhook] = {}
        self._deliveries: dict[str, Delivery] = {}
        self._domains: dict[tuple[TenantId, str], Domain] = {}
        self._attempts: dict[tuple[TenantId, str], Attempt] = {}

    async def add_session(self, session: Session) -> None:
        if (session.machine, session.id) in self._sessions:
            raise errors.Conflict(f"there is already a session {session.id}")
        self._sessions[session.machine, session.id] = session

    async def save_session(self, session: Session) -> None:
        if (session.machine, session.id) in self._sessions:
            self._sessions[session.machine, session.id] = session

    async def remove_session(self, session: Session) -> None:
        self._sessions.pop((session.machine, session.id), None)

    async def add_job(self, job: Job) -> None:
        self._jobs[job.id] = job

    async def save_job(self, job: Job) -> None:
        if job.id in self._jobs:
            self._jobs[job.id] = job

    async def get_job(self, machine: MachineId, job: str) -> Job | None:
        found = self._jobs.get(job)
        return found if found is not None and found.machine == machine else None

    async def list_jobs(self, machine: MachineId, limit: int) -> Sequence[Job]:
        return [job for job in reversed(self._jobs.values()) if job.machine == machine][:limit]

    async def list_running_jobs(self) -> Sequence[Job]:
        return [job for job in self._jobs.values() if job.state is JobState.RUNNING]

    def _forget_work(self, machine: MachineId) -> None:
        self._sessions = {key: session for key, session in self._sessions.items() if session.machine != machine}
        self._jobs = {id: job for id, job in self._jobs.items() if job.machine != machine}
        self._domains = {key: it for key, it in self._domains.items() if it.machine != machine}

    async def add_webhook(self, webhook: Webhook) -> None:
        self._webhooks[webhook.id] = webhook

    async def save_webhook(self, webhook: Webhook) -> None:
        if webhook.id in self._webhooks:
            self._webhooks[webhook.id] = webhook

    async def remove_webhook(self, webhook: str) -> None:
        self._webhooks.pop(webhook, None)
        self._deliveries = {id: it for id, it in self._deliveries.items() if it.webhook != webhook}

    async def add_deliveries(self, new: Sequence[Delivery]) -> None:
        self._deliveries |= {delivery.id: delivery for delivery in new if delivery.webhook in self._webhooks}

    async def save_delivery(self, delivery: Delivery) -> None:
        if delivery.id in self._deliveries:
            self._deliveries[delivery.id] = delivery

    async def get_delivery(self, delivery: str) -> Delivery | None:
        return self._deliveries.get(delivery)

    async def waiting_deliveries(self) -> Sequence[Delivery]:
        waiting = [(it.next_attempt_at, it) for it in self._deliveries.values() if it.next_attempt_at is not None]
        return [delivery for _, delivery in sorted(waiting, key=lambda pair: pair[0])]

    async def list_deliveries(self, webhook: str, limit: int) -> Sequence[Delivery]:
        return [it for it in reversed(self._deliveries.values()) if it.webhook == webhook][:limit]

    async def add_domain(self, domain: Domain) -> None:
        if (domain.tenant, domain.name) in self._domains:
            raise errors.Conflict(f"there is already a domain {domain.name}")
        self._check_free(domain)
        self._domains[domain.tenant, domain.name] = domain

    async def save_domain(self, domain: Domain) -> None:
        if (domain.tenant, domain.name) in self._domains:
            self._check_free(domain)
            self._domains[domain.tenant, domain.name] = domain

    async def remove_domain(self, domain: Domain) -> None:
        self._domains.pop((domain.tenant, domain.name), None)

    def _check_free(self, domain: Domain) -> None:
        """A verified name is one tenant's."""
        others = (it for it in self._domains.values() if it.name == domain.name and it.tenant != domain.tenant)
        if domain.verified_at is not None and any(it.verified_at is not None for it in others):
            raise errors.Conflict(f"domain {domain.name} is another tenant's")

    async def add_attempt(self, attempt: Attempt) -> None:
        if (attempt.tenant, attempt.key) in self._attempts:
            raise errors.Conflict(f"the key {attempt.key} was used before")
        self._attempts[attempt.tenant, attempt.key] = attempt

    async def save_attempt(self, attempt: Attempt) -> None:
        if (attempt.tenant, attempt.key) in self._attempts:
            self._attempts[attempt.tenant, attempt.key] = attempt

    async def get_attempt(self, tenant: TenantId, key: str) -> Attempt | None:
        return self._attempts.get((tenant, key))

    async def remove_attempt(self, tenant: TenantId, key: str) -> None:
        self._attempts.pop((tenant, key), None)

    def _prune_work(self, horizon: Horizon) -> None:
        if horizon.deliveries is not None:
            self._deliveries = {
                id: it
                for id, it in self._deliveries.items()
                if it.created_at >= horizon.deliveries or it.next_attempt_at is not None
            }
        if horizon.jobs is not None:
            self._jobs = {
                id: it for id, it in self._jobs.items() if it.finished_at is None or it.finished_at >= horizon.jobs
            }
        if horizon.attempts is not None:
            self._attempts = {key: it for key, it in self._attempts.items() if it.created_at >= horizon.attempts}
