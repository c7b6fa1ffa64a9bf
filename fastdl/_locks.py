"""What `threading` has of locks and of values of a thread's own, without the time that importing it
takes."""

import _thread

Lock = _thread.allocate_lock
RLock = _thread.RLock
local = _thread._local
