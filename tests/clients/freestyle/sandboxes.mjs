// The older published `freestyle-sandboxes` client, unmodified: `node sandboxes.mjs` prints what it was told, as JSON.
import { Freestyle } from "freestyle-sandboxes";

const hutch = new Freestyle({ apiKey: process.env.FREESTYLE_API_KEY, baseUrl: process.env.FREESTYLE_API_URL });
const told = {};
const { vm, vmId, domains } = await hutch.vms.create({
  workdir: "/srv",
  idleTimeoutSeconds: 900,
  waitForReadySignal: true,
  ports: [{ port: 443, targetPort: 8080 }],
  users: [{ name: "worker", shell: "/bin/sh" }],
  additionalFiles: { "/srv/hello.txt": { content: Buffer.from("from a file\n").toString("base64"), encoding: "base64" } },
  systemd: { services: [{ name: "beat", mode: "service", bash: "while :; do date; sleep 5; done" }] },
});
try {
  told.vmId = vmId;
  told.domains = domains;
  told.ran = await vm.exec("pwd; cat hello.txt; id -un worker");
  told.status = await vm.systemd.getStatus({ serviceId: "beat" });
  await vm.fs.writeTextFile("/srv/two.txt", "two");
  told.text = await vm.fs.readTextFile("/srv/two.txt");
  told.info = await vm.getInfo();
  told.suspended = await vm.suspend();
  told.woken = await vm.exec("cat /srv/two.txt");
  const { snapshotId } = await vm.snapshot();
  const copy = await hutch.vms.create({ snapshotId });
  told.copied = await copy.vm.exec("cat /srv/two.txt");
  await hutch.vms.delete({ vmId: copy.vmId });
  await hutch.vms.snapshots.delete({ snapshotId });
  const { forks } = await vm.fork({ count: 1 });
  told.forked = await forks[0].vm.exec("cat /srv/two.txt");
  await hutch.vms.delete({ vmId: forks[0].vmId });
  told.terminals = await vm.terminals.list();
  told.stopped = await vm.stop();
} finally {
  told.deleted = await hutch.vms.delete({ vmId });
}
console.log(JSON.stringify(told));
