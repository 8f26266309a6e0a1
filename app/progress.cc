#include "app/progress.h"

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "app/console.h"

namespace segmentd {
namespace {

constexpr int kWidth = 30;
constexpr std::chrono::seconds kQuiet(2);
constexpr std::chrono::milliseconds kBetween(100);

}  // namespace

Progress::Progress(std::string_view noun)
    : noun_(noun), wanted_(IsTerminal(stderr)), started_(Clock::now()) {}

Progress::~Progress() {
  hide();
}

void Progress::hide() {
  if (!shown_) return;
  fputs("\r\x1b[K", stderr);
  shown_ = false;
}

void Progress::show(double fraction, int64_t count) {
  if (!wanted_) return;
  const Clock::time_point now = Clock::now();
  if (now - started_ < kQuiet || now - drawn_ < kBetween) return;
  draw(fraction, count, now);
}

void Progress::draw(double fraction, int64_t count, Clock::time_point now) {
  const double seconds = std::chrono::duration<double>(now - started_).count();
  std::string line = "\r";
  if (fraction >= 0) {
    const int filled = static_cast<int>(std::clamp(fraction, 0.0, 1.0) * kWidth);
    absl::StrAppend(&line, "[", std::string(static_cast<size_t>(filled), '#'),
                    std::string(static_cast<size_t>(kWidth - filled), '.'), "] ",
                    absl::StrFormat("%3.0f %% ", fraction * 100));
  }
  if (!noun_.empty()) absl::StrAppend(&line, Counted(count, noun_), ", ");
  absl::StrAppendFormat(&line, "%.0f s", seconds);
  if (fraction > 0.01) {
    absl::StrAppendFormat(&line, ", %.0f s to go", seconds / fraction * (1 - fraction));
  }
  absl::StrAppend(&line, "\x1b[K");
  fwrite(line.data(), 1, line.size(), stderr);
  shown_ = true;
  drawn_ = now;
}

}  // namespace segmentd
