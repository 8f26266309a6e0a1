// Tests through libraries whose locks and atomics ThreadSanitizer can't see: every hand-over
// between threads looks like a race.
#pragma once

#include <gtest/gtest.h>

#ifdef __SANITIZE_THREAD__
#define SKIP_UNDER_THREAD_SANITIZER() GTEST_SKIP() << "gRPC is not instrumented"
#else
#define SKIP_UNDER_THREAD_SANITIZER() static_cast<void>(0)
#endif
