#include "app/signals.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <string.h>
#include <unistd.h>

#include <thread>

#include "absl/time/time.h"

#include "app/exit_status.h"

namespace segmentd {
namespace {

sigset_t Watched() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

Signals& Signals::Install(absl::Duration stop_timeout) {
  const sigset_t watched = Watched();
  pthread_sigmask(SIG_BLOCK, &watched, nullptr);
  // A client that is gone is an error of the write.
  signal(SIGPIPE, SIG_IGN);
  auto* const signals = new Signals(stop_timeout);
  std::thread([signals] { signals->run(); }).detach();
  return *signals;
}

void Signals::run() {
  const sigset_t watched = Watched();
  int received = 0;
  while (sigwait(&watched, &received) != 0) {
  }
  spdlog::info("SIG{} received: stopping; once more ends at once", sigabbrev_np(received));
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  stopped_.notify_all();
  const timespec limit = absl::ToTimespec(stop_timeout_);
  while ((received = sigtimedwait(&watched, nullptr, &limit)) < 0 && errno == EINTR) {
  }
  if (received < 0) {
    spdlog::error("not stopped within {} s: ending; what was not committed will be read again",
                  absl::ToDoubleSeconds(stop_timeout_));
  }
  // Nothing is lost by it: what is committed is the truth.
  _exit(received < 0 ? kUnavailable : 128 + received);
}

bool Signals::wait(absl::Duration longest) {
  std::unique_lock lock(mutex_);
  return stopped_.wait_for(lock, absl::ToChronoMilliseconds(longest), [this] { return stop_; });
}

}  // namespace segmentd
