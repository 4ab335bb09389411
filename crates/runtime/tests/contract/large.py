"""Holds a large memory of which little changes, and knows what each page of it has to
be. What is not so is written down and ends it. Its rounds are counted in /count."""

import ctypes, mmap, os, time, traceback

PAGE, PAGES, SLICES = 4096, 96 << 8, 8

try:
    libc = ctypes.CDLL(None, use_errno=True)
    values = list(range(PAGES))
    memory = mmap.mmap(-1, PAGES * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

    def page(value):
        return value.to_bytes(8, "little") * (PAGE // 8)

    def put(at, value):
        values[at] = value
        memory[at * PAGE : at * PAGE + PAGE] = page(value)

    for at in range(PAGES):
        put(at, at)
    # Nobody may read these: a round cannot, the dump can.
    hidden = mmap.mmap(-1, 16 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = ctypes.addressof(ctypes.c_char.from_buffer(hidden))
    guarded = ctypes.c_void_p(address), ctypes.c_size_t(16 * PAGE)

    # A second process has the same pages, changes others of them, and says that it lives.
    ours, theirs = os.pipe(), os.pipe()
    is_child = os.fork() == 0
    n, last = 0, 0
    while True:
        if is_child:
            os.read(ours[0], 1)
        n += 1
        # A few pages, spread; one that goes and comes back empty; and one that comes and goes.
        for step in range(16):
            put((n * 16 + step) * (577 if is_child else 131) % PAGES, n << 20 | step)
        gone = n * 7919 % PAGES
        memory.madvise(mmap.MADV_DONTNEED, gone * PAGE, PAGE)
        values[gone] = 0
        brief = mmap.mmap(-1, 64 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        brief[:PAGE] = page(n)
        for at in range(n % SLICES, PAGES, SLICES):
            assert memory[at * PAGE : at * PAGE + PAGE] == page(values[at]), (is_child, n, at)
        libc.mprotect(*guarded, mmap.PROT_READ | mmap.PROT_WRITE)
        assert hidden[:PAGE] == page(last), (is_child, n, "hidden")
        hidden[:PAGE] = page(n)
        libc.mprotect(*guarded, 0)
        last = n
        brief.close()
        if is_child:
            os.write(theirs[1], b"x")
        else:
            os.write(ours[1], b"x")
            assert os.read(theirs[0], 1) == b"x"
            with open("/count.new", "w") as new:
                new.write(str(n))
            os.rename("/count.new", "/count")
            time.sleep(0.05)
except BaseException:
    with open("/failed", "a") as failed:
        failed.write(traceback.format_exc())
    os._exit(1)
