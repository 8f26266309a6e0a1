// A progress bar on standard error, for work that takes longer than two seconds and somebody
// watches.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace segmentd {

class Progress {
 public:
  // `noun` is what is counted: "event"; empty where nothing is.
  explicit Progress(std::string_view noun = "");
  // Takes the bar away.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `fraction` of the whole is done, negative when nobody knows. Cheap: draws at most ten times a
  // second, and nothing in the first two seconds or where standard error is no terminal.
  void show(double fraction, int64_t count = 0);
  // Takes the bar away until the next show(), so that something else can be written.
  void hide();

 private:
  using Clock = std::chrono::steady_clock;
  void draw(double fraction, int64_t count, Clock::time_point now);

  std::string noun_;
  bool wanted_;
  bool shown_ = false;
  Clock::time_point started_;
  Clock::time_point drawn_;
};

}  // namespace segmentd
