"""Python SDK of the native API: `Hutch` and `AsyncHutch`, the same but for `await`.

with Hutch() as hutch:
    machine = hutch.machines.create(NewMachine("debian"))
    print(hutch.processes.run(machine.id, Command(["uname", "-a"])).stdout.decode())
    hutch.machines.delete(machine.id)
"""

from hutch.client._async.client import AsyncHutch as AsyncHutch
from hutch.client._sync.client import Hutch as Hutch
from hutch.client.errors import ApiError as ApiError
from hutch.client.errors import Unreachable as Unreachable
from hutch.client.models import Checkout as Checkout
from hutch.client.models import Code as Code
from hutch.client.models import Command as Command
from hutch.client.models import Mount as Mount
from hutch.client.models import NewMachine as NewMachine
from hutch.client.models import NewPool as NewPool
from hutch.client.models import PoolChange as PoolChange
from hutch.client.recipes import Base as Base
from hutch.client.recipes import Layer as Layer
from hutch.client.recipes import NewService as NewService
from hutch.client.recipes import Recipe as Recipe
