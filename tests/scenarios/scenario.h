// Runs the commands of a scenario file over one partition in memory; README.md describes the files.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "segment/engine.h"
#include "stream/decoder.h"

namespace segmentd::scenario {

class Scenario {
 public:
  Scenario();

  // The output of one command: lines, each ended.
  std::string run(std::string_view command, std::string_view input);

 private:
  std::string segments(std::string_view input);
  std::string remove(std::string_view input);
  std::string settings(std::string_view input);
  std::string events(std::string_view input, bool as_json);
  std::string clock(std::string_view input);
  std::string members(std::string_view input);
  std::string explain(std::string_view input);
  std::string counters() const;

  void apply(std::string_view line, std::string* out);
  void fire(Time clock, std::string* out);
  // As a new segment or a new version of a known one, from the next record on.
  void define(segments::v1::Segment segment, std::vector<ActiveSegment>* active) const;
  std::string pause(std::string_view input, bool paused);
  absl::Status use_rules(std::vector<ActiveSegment> active);
  void print(const std::string& user, std::string* out);

  Settings settings_;
  Decoder decoder_;
  std::vector<ActiveSegment> active_;
  uint64_t last_change_number_ = 0;
  std::optional<Engine> engine_;
  std::map<std::string, UserState> users_;
  Time clock_ = Time::Min();
  int64_t next_offset_ = 0;
  int64_t next_change_ = 1;
  bool as_json_ = false;
  Changes changes_;
  std::map<std::string, int64_t> counts_;
};

// Runs a file and returns it with the outputs that came out.
std::string RunScenario(std::string_view file);

}  // namespace segmentd::scenario
