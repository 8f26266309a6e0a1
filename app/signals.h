// SIGTERM and SIGINT: the first asks for a clean stop, a second one, or too long a stop, ends the
// process at once.
#pragma once

#include <condition_variable>
#include <mutex>

#include "absl/time/time.h"

namespace segmentd {

// One a process, made before any other thread: those inherit that the signals are blocked. It is
// never destroyed.
class Signals {
 public:
  // `stop_timeout`: longest time from the first signal to the end of the process.
  static Signals& Install(absl::Duration stop_timeout);

  // Returns when a stop was asked for, or after `longest`. Whether it was.
  bool wait(absl::Duration longest);

 private:
  explicit Signals(absl::Duration stop_timeout) : stop_timeout_(stop_timeout) {}
  void run();

  const absl::Duration stop_timeout_;
  std::mutex mutex_;
  std::condition_variable stopped_;
  // Guarded by mutex_.
  bool stop_ = false;
};

}  // namespace segmentd
