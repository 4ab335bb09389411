"""Templates built by the official SDK's builder, and what sandboxes of them are like."""

import asyncio
import time
import uuid

import pytest
from e2b import AsyncTemplate, Sandbox, Template, wait_for_port
from e2b.exceptions import BuildException, SandboxException


@pytest.fixture
def context(tmp_path):
    """A directory with files, a link and a directory in it."""
    (tmp_path / "folder" / "sub").mkdir(parents=True)
    (tmp_path / "folder" / "test.txt").write_text("one\n")
    (tmp_path / "folder" / "sub" / "deep.txt").write_text("deep\n")
    (tmp_path / "folder" / "link").symlink_to("test.txt")
    return tmp_path


def lines(template, name, **options):
    """Builds, and returns what the log says."""
    seen = []
    Template.build(template, name, on_build_logs=lambda entry: seen.append(entry.message), **options)
    return seen


def output(sandbox, command):
    return sandbox.commands.run(command).stdout.strip()


def test_each_kind_of_step_does_what_it_says(name, context, create):
    """Row: T3, T4."""
    template = (
        Template(file_context_path=context)
        .from_template("base")
        .run_cmd(f"echo out {uuid.uuid4()}; echo err >&2; whoami > /home/user/who")
        .copy("folder/*", "dest")
        .copy("folder/test.txt", "/opt/renamed.txt", user="root", mode=0o600)
        .copy("folder/test.txt", "/opt/into/")
        .set_envs({"A": "1", "B": "b $A"})
        .set_workdir("/app/deep")
        .run_cmd("pwd > here; echo $B > b")
        .run_cmd("whoami > /opt/root", user="root")
        .set_user("bob")
    )
    log = lines(template, name)
    assert any("[stdout]: out" in line for line in log)
    assert any("[stderr]: err" in line for line in log)
    sandbox = create(name)
    assert output(sandbox, "whoami; pwd; echo $A-$B").split("\n") == ["bob", "/app/deep", "1-b 1"]
    assert output(sandbox, "cat here b /home/user/who /opt/root").split("\n") == ["/app/deep", "b 1", "user", "root"]
    assert output(sandbox, "cd /home/user/dest; cat test.txt sub/deep.txt; readlink link; stat -c %U .") == "one\ndeep\ntest.txt\nuser"
    assert output(sandbox, "stat -c '%U %a' /opt/renamed.txt /opt/into/test.txt") == "root 600\nuser 644"
    assert output(sandbox, "ls -A /var/tmp") == "", "nothing of a copy is left aside"


def test_the_second_build_of_the_same_steps_takes_all_from_the_cache(name, context):
    """Row: T3, T6."""
    def template():
        copied = Template(file_context_path=context).from_template("base").copy("folder", "dest")
        return copied.run_cmd("cat dest/test.txt").run_cmd("echo last")

    unique = uuid.uuid4().hex
    (context / "folder" / "test.txt").write_text(unique)
    assert sum("CACHED" in line for line in lines(template(), name)) == 0
    started = time.monotonic()
    assert sum("CACHED" in line for line in lines(template(), name)) == 3
    assert time.monotonic() - started < 5
    (context / "folder" / "test.txt").write_text(unique + "changed")
    assert any(f"[stdout]: {unique}changed" in line for line in lines(template(), name))


def test_a_step_that_skips_the_cache_is_done_again_with_all_after_it(name):
    """Row: T6."""
    def template():
        first = Template().from_template("base").run_cmd("echo first")
        return first.skip_cache().run_cmd("cat /proc/sys/kernel/random/uuid > /opt/id", user="root").run_cmd("echo last")

    lines(template(), name)
    with Sandbox.create(name) as sandbox:
        before = output(sandbox, "cat /opt/id")
    log = lines(template(), name)
    assert [("CACHED" in line) for line in log if "[builder" in line and "RUN" in line] == [True, False, False]
    with Sandbox.create(name) as sandbox:
        assert output(sandbox, "cat /opt/id") != before


def test_a_failed_step_is_told_with_its_line(name):
    """Row: T8."""
    with pytest.raises(BuildException) as failed:
        Template.build(Template().from_template("base").run_cmd("true").run_cmd("exit 7"), name)
    assert "failed to run command 'exit 7': exit status 7" in str(failed.value)
    last = failed.value.__traceback__
    while last.tb_next:
        last = last.tb_next
    assert last.tb_frame.f_code.co_filename == __file__, "the traceback ends at the step"


def test_the_base_image_is_the_base_template(name, create):
    """Row: T2."""
    Template.build(Template().from_base_image().run_cmd("echo from the base > said"), name)
    assert output(create(name), "cat said") == "from the base"


def test_a_user_that_is_not_there_is_named(name):
    with pytest.raises(BuildException, match="invalid username: 'root123'") as failed:
        Template.build(Template().from_template("base").run_cmd("whoami", user="root123"), name)
    assert "failed to run command 'whoami': command failed: unauthenticated:" in str(failed.value)


def test_a_parent_that_is_not_there_fails_the_build_at_its_base(name):
    """Row: T2."""
    with pytest.raises(BuildException, match="template 'none-such' not found"):
        Template.build(Template().from_template("none-such"), name)


def test_an_image_that_cannot_be_had_is_named(name):
    with pytest.raises(BuildException, match="registry.invalid/none:1"):
        Template.build(Template().from_image("registry.invalid/none:1"), name)


def test_familiar_images_have_local_equivalents(name):
    log = lines(Template().from_python_image("3.13").run_cmd(f"python3 --version # {uuid.uuid4()}"), name)
    assert any("stands in for python:3.13" in line for line in log)
    assert any("[stdout]: Python 3." in line for line in log)


def test_a_dockerfile_is_followed(name, context, create):
    """Row: T14."""
    (context / "Dockerfile").write_text(
        "FROM debian:stable\nENV GREETING=hello\nWORKDIR /srv/app\nCOPY folder/test.txt .\nRUN echo $GREETING > said\n"
    )
    template = Template(file_context_path=context).from_dockerfile(str(context / "Dockerfile"))
    Template.build(template, name)
    assert output(create(name), "cat /srv/app/test.txt /srv/app/said; whoami; pwd") == "one\nhello\nuser\n/srv/app"


def test_a_build_in_the_background_is_under_way_at_once(name):
    """Row: T7."""
    template = Template().from_template("base").run_cmd(f"sleep 1; echo {uuid.uuid4()}")
    info = Template.build_in_background(template, name)
    assert Template.get_build_status(info).status.value == "building"
    deadline = time.monotonic() + 60
    while Template.get_build_status(info).status.value == "building" and time.monotonic() < deadline:
        time.sleep(0.1)
    status = Template.get_build_status(info)
    assert status.status.value == "ready", status


def test_a_template_has_the_resources_it_was_built_with(name, create):
    """Row: T9."""
    Template.build(Template().from_template("base"), name, cpu_count=1, memory_mb=512)
    sandbox = create(name)
    info = sandbox.get_info()
    assert (info.cpu_count, info.memory_mb) == (1, 512)
    assert output(sandbox, "nproc; free -m | awk '/^Mem/ {print $2}'") == "1\n512"
    with pytest.raises(BuildException, match="cpuCount"):
        Template.build(Template().from_template("base"), name, cpu_count=3)


def test_the_start_command_runs_in_every_new_sandbox(name, create):
    """Row: T5."""
    template = Template().from_template("base").set_workdir("/srv/site").run_cmd("echo served > index.html")
    served = template.set_start_cmd("python3 -m http.server 8080", wait_for_port(8080))
    log = lines(served, name)
    assert any("[finalize]" in line for line in log)
    for _ in range(2):
        assert output(create(name), "curl -s localhost:8080") == "served"


def test_a_start_command_that_fails_is_told_with_what_it_printed(name):
    template = Template().from_template("base").set_start_cmd("echo went wrong; exit 3", "false")
    with pytest.raises(BuildException, match="exit status 3; it printed: went wrong"):
        Template.build(template, name)


def test_names_and_tags_lead_to_builds(name, create):
    """Row: T11, T12, T13."""
    assert not Template.exists(name)
    first = Template.build(Template().from_template("base").set_envs({"V": "1"}), f"{name}:v1", tags=["stable"])
    assert first.tags == ["v1", "stable"]
    Template.build(Template().from_template("base").set_envs({"V": "2"}), name)
    assert Template.exists(name)
    assert output(create(f"{name}:v1"), "echo $V") == "1"
    assert output(create(name), "echo $V") == "2"
    Template.assign_tags(f"{name}:v1", ["prod"])
    assert output(create(f"{name}:prod"), "echo $V") == "1"
    assert {tag.tag for tag in Template.get_tags(name)} == {"v1", "stable", "default", "prod"}
    Template.remove_tags(name, "prod")
    with pytest.raises(SandboxException, match="tag 'prod' does not exist"):
        create(f"{name}:prod")


def test_a_template_is_a_parent_of_others(name, create, api):
    """Row: T2."""
    child = f"{name}-child"
    parent = Template().from_template("base").set_envs({"FROM_PARENT": "yes"}).set_user("bob")
    Template.build(parent.set_workdir("/opt/work"), name)
    try:
        Template.build(Template().from_template(name).run_cmd("whoami > who"), child)
        assert output(create(child), "cat who; pwd; echo $FROM_PARENT") == "bob\n/opt/work\nyes"
    finally:
        for sandbox in Sandbox.list().next_items():
            if sandbox.name == child:
                Sandbox.kill(sandbox.sandbox_id)
        assert api.delete(f"/templates/{child}").status_code == 204


def test_a_template_of_sixty_steps_shows_all_of_them_from_few_layers(name, create):
    """Layers that hide, replace and link are merged into others that show the same."""
    template = Template().from_template("base").set_user("root").set_workdir("/opt/deep")
    template = template.run_cmd(f"echo {uuid.uuid4()}; mkdir -p kept gone swapped; echo low > kept/low; echo low > gone/low; echo low > swapped/low")
    template = template.run_cmd("rm -r gone; rm -r swapped; mkdir swapped; echo high > swapped/high; ln kept/low linked")
    template = template.run_cmd("rm /etc/issue; mv swapped moved; mkdir -m 2750 gone; echo back > gone/back; chown user kept; touch -d @7 kept")
    for number in range(55):
        template = template.run_cmd(f"echo {number} > /opt/deep/last; echo {number} > /opt/deep/n{number}; rm -f /opt/deep/n{number - 2}")
    Template.build(template, name)
    sandbox = create(name)
    assert output(sandbox, "cd /opt/deep; find . | sort | xargs").split() == [
        *(".", "./gone", "./gone/back", "./kept", "./kept/low", "./last", "./linked", "./moved", "./moved/high", "./n53", "./n54")
    ]
    assert output(sandbox, "cat /opt/deep/last; stat -c '%a %U %Y' /opt/deep/gone /opt/deep/kept | sed 's/root.*/root/'").split("\n") == ["54", "2750 root", "755 user 7"]
    assert output(sandbox, "ls /etc/issue 2>&1; test /opt/deep/linked -ef /opt/deep/kept/low && echo one file").endswith("one file")
    layers = output(sandbox, "sed -n 's/^[^ ]* \\/ overlay .*lowerdir=\\([^,]*\\).*/\\1/p' /proc/mounts").split(":")
    assert 1 < len([layer for layer in layers if layer]) <= 20, layers


def test_a_chain_of_more_than_five_hundred_steps_creates_and_runs(name, create, context, api):
    """A template has at most 500 steps, so the last of them stand on a template of their own;
    more of them leave layers than a root can mount."""
    steps, most, mark = 520, 490, uuid.uuid4()

    def more(template, numbers):
        for number in numbers:
            if number % 20 == 0:
                template = template.set_workdir(f"/opt/chain/{number}")
            elif number % 20 == 10:
                template = template.copy("folder/test.txt", f"/opt/copied-{number}")
            elif number % 2:
                template = template.run_cmd(f"echo {number} {mark} | tee n-{number} > /opt/last")
            else:
                template = template.set_envs({f"N{number}": str(number), "LAST": str(number)})
        return template

    builder = Template(file_context_path=context)
    below = more(builder.from_template("base").set_user("root"), range(most - 1))
    parent = f"{name}-below"
    began = time.monotonic()
    Template.build(below, parent)
    try:
        Template.build(more(Template(file_context_path=context).from_template(parent), range(most - 1, steps)), name)
        print(f"{steps} steps were built in {time.monotonic() - began:.1f} s")
        sandbox = create(name)
        numbers = range(steps)
        assert output(sandbox, "find /opt/chain -name 'n-*' | wc -l") == str(len([n for n in numbers if n % 2]))
        assert output(sandbox, "ls -d /opt/copied-* | wc -l; ls -d /opt/chain/* | wc -l").split() == ["26", "26"]
        assert output(sandbox, "cat /opt/last; pwd; echo $N2 $N518 $LAST; id -un").split("\n") == [f"519 {mark}", "/opt/chain/500", "2 518 518", "root"]
        layers = output(sandbox, "sed -n 's/^[^ ]* \\/ overlay .*lowerdir=\\([^,]*\\).*/\\1/p' /proc/mounts").split(":")
        assert 1 < len([layer for layer in layers if layer]) <= 20, layers
    finally:
        assert api.delete(f"/templates/{parent}").status_code == 204


def test_two_builds_of_the_same_steps_at_once_do_the_work_once(name):
    template = AsyncTemplate().from_template("base").run_cmd(f"echo {uuid.uuid4()}; sleep 1")
    seen = []

    async def both():
        build = lambda tag: AsyncTemplate.build(template, f"{name}:{tag}", on_build_logs=lambda e: seen.append(e.message))
        await asyncio.gather(build("a"), build("b"))

    asyncio.run(both())
    steps = [line for line in seen if "RUN echo" in line]
    assert sorted(line.startswith("CACHED") for line in steps) == [False, True]


def test_a_template_in_use_is_not_deleted(name, create, api):
    """Row: T17."""
    Template.build(Template().from_template("base"), name)
    sandbox = create(name)
    refused = api.delete(f"/templates/{name}")
    assert refused.status_code == 400
    assert "there are running sandboxes using it" in refused.json()["message"]
    sandbox.kill()
    assert api.delete(f"/templates/{name}").status_code == 204
    assert not Template.exists(name)
