-- Which processes of a sandbox the kernel ended for want of memory, as JSON; absent: none known.
ALTER TABLE ended ADD COLUMN oom_victims TEXT;
