// The published `freestyle` client, unmodified: `node sdk.mjs SCENARIO` prints what it was told, as JSON.
import { Freestyle, VmBaseImage, VmSpec } from "freestyle";

const hutch = new Freestyle({ apiKey: process.env.FREESTYLE_API_KEY, baseUrl: process.env.FREESTYLE_API_URL });
const small = () => new VmSpec().memSizeGb(1).vcpuCount(1);

async function refusal(call) {
  try {
    return { answered: await call() };
  } catch (error) {
    return { name: error.name, code: error.constructor?.code ?? error.code, message: String(error.message) };
  }
}

async function withVm(options, use) {
  const made = await hutch.vms.create(options);
  try {
    return await use(made);
  } finally {
    await refusal(() => hutch.vms.delete({ vmId: made.vmId }));
  }
}

const scenarios = {
  async life() {
    return withVm({ name: "demo", idleTimeoutSeconds: 600, persistence: { type: "persistent" } }, async ({ vm, vmId, domains }) => {
      const told = { vmId, domains };
      told.info = await vm.getInfo();
      told.listed = (await hutch.vms.list()).vms.find((one) => one.id === vmId);
      told.hello = await vm.exec("echo hello; echo oops >&2; exit 3");
      told.late = await refusal(() => vm.exec({ command: "sleep 30", timeoutMs: 500 }));
      told.kept = await vm.exec("echo $$ > /run/kept; nohup sleep 1000 > /dev/null 2>&1 & echo $! > /run/sleeper; hostname");
      told.suspended = await vm.suspend();
      told.asleep = (await vm.getInfo()).state;
      told.woken = await vm.exec("kill -0 $(cat /run/sleeper) && echo lives");
      told.started = await vm.start({});
      told.snapshot = await vm.snapshot({ name: "demo-snapshot" });
      const forked = await vm.fork({ count: 2 });
      told.forks = forked.forks.map((one) => Object.keys(one).sort());
      told.inFork = await forked.forks[0].vm.exec("kill -0 $(cat /run/sleeper) && echo lives too");
      for (const one of forked.forks) await hutch.vms.delete({ vmId: one.vmId ?? one.id });
      told.renamed = await refusal(() => hutch.vms.snapshots.ref({ snapshotId: told.snapshot.snapshotId }).update({ name: "renamed" }));
      told.found = await hutch.vms.snapshots.get({ snapshotId: told.snapshot.snapshotId });
      const again = await hutch.vms.create({ snapshotId: told.snapshot.snapshotId });
      told.again = await again.vm.exec("kill -0 $(cat /run/sleeper) && echo again");
      await again.vm.delete();
      told.removed = await hutch.vms.snapshots.delete({ snapshotId: told.snapshot.snapshotId });
      told.removedTwice = await refusal(() => hutch.vms.snapshots.delete({ snapshotId: told.snapshot.snapshotId }));
      told.snapshots = (await hutch.vms.snapshots.list({ includeDeleted: true })).snapshots.find(
        (one) => one.snapshotId === told.snapshot.snapshotId,
      );
      const ended = vm.waitForExit();
      told.stopped = await vm.stop();
      told.ended = await ended;
      told.stoppedTwice = await refusal(() => vm.stop());
      await vm.start({});
      told.killed = await vm.kill();
      told.atRest = (await vm.getInfo()).state;
      told.deleted = await vm.delete();
      told.gone = await refusal(() => vm.getInfo());
      told.never = await refusal(() => hutch.vms.ref({ vmId: "aaaaaaaaaaaaaaaaaaaa" }).getInfo());
      return told;
    });
  },

  async files() {
    return withVm({}, async ({ vm }) => {
      const told = {};
      await vm.fs.writeTextFile("/tmp/a b/ü.txt", "grüße\n");
      told.text = await vm.fs.readTextFile("/tmp/a b/ü.txt");
      const bytes = Buffer.from(Array.from({ length: 70000 }, (_, at) => (at * 7) % 256));
      await vm.fs.writeFile("/tmp/bytes", bytes);
      told.bytes = (await vm.fs.readFile("/tmp/bytes")).equals(bytes);
      await vm.fs.mkdir("/tmp/made/deep", true);
      told.listing = await vm.fs.readDir("/tmp/made");
      told.stat = await vm.fs.stat("/tmp/bytes");
      told.there = [await vm.fs.exists("/tmp/bytes"), await vm.fs.exists("/tmp/not")];
      await vm.fs.remove("/tmp/made", true);
      told.missing = await refusal(() => vm.fs.readFile("/tmp/not"));
      const seen = [];
      const watching = (async () => {
        for await (const event of vm.fs.watchFiles()) {
          seen.push(event);
          if (event.filename.endsWith("watched")) return;
        }
      })();
      const stirring = setInterval(() => refusal(() => vm.exec("date > /root/watched; date > watched")), 1000);
      await watching;
      clearInterval(stirring);
      told.seen = seen.at(-1);
      return told;
    });
  },

  async spec() {
    const spec = () =>
      small()
        .users([{ name: "deploy", uid: 1500, home: "/home/deploy", shell: "/bin/bash" }])
        .additionalFiles({ "/opt/app/hello.sh": { content: "echo from a layer", executable: true } })
        .runCommands("echo one > /opt/one", "echo two > /opt/two")
        .snapshot()
        .workdir("/opt/app")
        .systemdService({ name: "web", mode: "service", exec: ["/bin/sleep 1000"], env: { A: "b c" } });
    const told = {};
    const first = await hutch.vms.create({ name: "layered", spec: spec() });
    try {
      told.ran = await first.vm.exec("pwd; cat /opt/one /opt/two; ./hello.sh; id -u deploy; nproc");
      told.services = (await first.vm.systemd.list()).services;
      told.status = await first.vm.systemd.getStatus({ serviceId: "web" });
      told.build = await (await first.vm.getBuild()).get();
      told.phases = (await (await first.vm.getBuild()).phases()).map((phase) => phase.name);
      const second = await hutch.vms.create({ spec: spec() });
      told.same = second.snapshotId === first.snapshotId;
      told.sameBuild = (await (await second.vm.getBuild()).get()).buildId === told.build.buildId;
      await second.vm.delete();
    } finally {
      await first.vm.delete();
    }
    return told;
  },

  async dockerfile() {
    const base = new VmBaseImage(
      `FROM ${process.env.IMAGE} AS one\nENV A=1\nRUN echo made > /made\nFROM ${process.env.IMAGE}\nENV B="two words"\nWORKDIR /srv\nCOPY --from=one /made /srv/made\nRUN echo $B >> made\n`,
    );
    const told = {};
    told.ensured = await hutch.vms.snapshots.ensure({ spec: small().baseImage(base) });
    const { vm } = await hutch.vms.create({ snapshotId: told.ensured.snapshotId });
    told.made = await vm.exec("pwd; cat made; echo $B");
    await vm.delete();
    const bad = (text) => refusal(() => hutch.vms.snapshots.ensure({ spec: small().baseImage(new VmBaseImage(text)) }));
    told.failing = await bad(`FROM ${process.env.IMAGE}\nRUN echo why; exit 7\n`);
    told.local = await bad(`FROM ${process.env.IMAGE}\nCOPY app.py /app.py\n`);
    return told;
  },

  async services() {
    return withVm({}, async ({ vm }) => {
      const told = {};
      told.created = await vm.systemd.create({ name: "talker", mode: "service", exec: ["/bin/sh -c 'while :; do echo talking; sleep 1; done'"] });
      told.twice = await refusal(() => vm.systemd.create({ name: "talker", mode: "service", exec: ["/bin/true"] }));
      told.status = await vm.systemd.getStatus({ serviceId: "talker" });
      told.stopped = await vm.systemd.stop({ services: [{ id: "talker" }, { id: "nothing" }] });
      told.started = await vm.systemd.start({ services: [{ id: "talker" }] });
      told.restarted = await vm.systemd.restart({ services: [{ id: "talker" }] });
      told.logs = (await vm.systemd.getLogs({ serviceId: "talker", lines: 5 })).logs;
      told.deleted = await vm.systemd.delete({ serviceId: "talker" });
      told.gone = await refusal(() => vm.systemd.getStatus({ serviceId: "talker" }));
      told.ran = await vm.exec({ command: "cd /tmp; echo in a terminal", terminal: "work" });
      told.stays = await vm.exec({ command: "pwd", terminal: "work" });
      told.terminals = (await vm.terminals.list()).terminals;
      told.lines = (await vm.terminals.getLogs({ terminalId: "work" })).logs;
      told.output = (await vm.terminals.getOutput({ terminalId: "work" })).output;
      return told;
    });
  },

  async sizes() {
    return withVm({ spec: small() }, async ({ vm }) => {
      const told = {};
      await vm.exec("echo kept > /root/kept");
      told.resized = await vm.resize({ memSizeGb: 2, vcpuCount: 2, rootfsSizeGb: 20 });
      told.after = await vm.exec("nproc; cat /root/kept; awk '/MemTotal/ {print ($2 > 1500000)}' /proc/meminfo; df -BG --output=size / | tail -1");
      told.empty = await refusal(() => vm.resize({}));
      told.odd = await refusal(() => vm.resize({ memSizeGb: 3 }));
      told.shrunk = await refusal(() => vm.resize({ rootfsSizeGb: 1 }));
      told.optimized = await vm.optimize();
      told.woken = await vm.exec("cat /root/kept");
      return told;
    });
  },
};

console.log(JSON.stringify(await scenarios[process.argv[2]]()));
