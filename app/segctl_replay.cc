// segctl replay: segments tried on a file of events, without server and Kafka.

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "app/change_line.h"
#include "app/console.h"
#include "app/definition_files.h"
#include "app/help.h"
#include "app/line_reader.h"
#include "app/progress.h"
#include "app/replay.h"
#include "app/segctl.h"
#include "proto/segments/v1/change.pb.h"
#include "segment/absl_view.h"

namespace segmentd {
namespace {

struct ReplayOptions {
  std::vector<std::string> segments;
  std::string events;
  std::string until;
  std::string output;
};

struct CloseFile {
  void operator()(FILE* file) const { fclose(file); }
};

// What was cut off, in words; empty for nothing. Memberships may differ from what they would be
// without bounds.
std::string CutOff(const EngineCounters& counters) {
  std::vector<std::string> parts;
  const auto add = [&](int64_t count, absl::string_view what) {
    if (count > 0) parts.push_back(absl::StrCat(Grouped(count), " ", what));
  };
  add(counters.pendings_dropped, "pending values or sequences dropped");
  add(counters.facts_dropped, "facts dropped");
  add(counters.message_ids_dropped, "message IDs forgotten");
  add(counters.profile_writes_refused, "writes to profiles refused");
  return absl::StrJoin(parts, ", ");
}

void PrintSummary(const Replay& replay) {
  const Replay::Counts& counts = replay.counts();
  std::string text =
      absl::StrCat(Counted(counts.events, "event"), " of ", Counted(replay.users(), "user"));
  if (counts.events > 0) absl::StrAppend(&text, ", clock at ", FormatTimestamp(replay.clock()));
  if (counts.late > 0) absl::StrAppend(&text, ", ", Grouped(counts.late), " late");
  if (counts.too_late > 0) absl::StrAppend(&text, ", ", Grouped(counts.too_late), " too late");
  if (counts.duplicates > 0) {
    absl::StrAppend(&text, ", ", Counted(counts.duplicates, "duplicate"));
  }
  const auto of = [&](segments::v1::Action action) {
    return counts.changes[static_cast<size_t>(action)];
  };
  absl::StrAppend(
      &text, "\n",
      Counted(of(segments::v1::ADD) + of(segments::v1::REMOVE) + of(segments::v1::QUALIFIED),
              "change"),
      ": ", Grouped(of(segments::v1::ADD)), " ADD, ", Grouped(of(segments::v1::REMOVE)), " REMOVE");
  if (of(segments::v1::QUALIFIED) > 0) {
    absl::StrAppend(&text, ", ", Grouped(of(segments::v1::QUALIFIED)), " QUALIFIED");
  }
  if (const std::string cut_off = CutOff(replay.cut_off()); !cut_off.empty()) {
    absl::StrAppend(&text, "\n",
                    Paint(absl::StrCat("Past the bounds of what is kept per user: ", cut_off),
                          Color::kYellow, stderr));
  }
  if (counts.dead_letters > 0) {
    absl::StrAppend(&text, "\n",
                    Paint(absl::StrCat(Counted(counts.dead_letters, "line"), " not understood:"),
                          Color::kYellow, stderr));
    for (const Replay::DeadLetter& letter : replay.dead_letters()) {
      absl::StrAppend(&text, "\n  line ", letter.line, ": ",
                      AbslView(DecodeErrorCode(letter.error)), ": ", letter.detail);
    }
    if (counts.dead_letters > static_cast<int64_t>(replay.dead_letters().size())) {
      absl::StrAppend(&text, "\n  and more");
    }
  }
  absl::StrAppend(&text, "\n");
  fputs(text.c_str(), stderr);
  Table table({"SEGMENT", "NAME", "MEMBERS", "ADDED", "REMOVED"});
  for (const Replay::SegmentCount& segment : replay.segments()) {
    table.add({{segment.id, Color::kBold},
               {segment.name},
               {Grouped(segment.members), Color::kNone, true},
               {Grouped(segment.added), Color::kNone, true},
               {Grouped(segment.removed), Color::kNone, true}});
  }
  table.print(stderr);
}

void PrintSummaryJson(const Replay& replay) {
  const Replay::Counts& counts = replay.counts();
  std::vector<std::string> letters;
  for (const Replay::DeadLetter& letter : replay.dead_letters()) {
    letters.push_back(JsonObject()
                          .number("line", letter.line)
                          .text("error", DecodeErrorCode(letter.error))
                          .text("detail", letter.detail)
                          .str());
  }
  std::vector<std::string> segments;
  for (const Replay::SegmentCount& segment : replay.segments()) {
    segments.push_back(JsonObject()
                           .text("segment_id", segment.id)
                           .text("segment_name", segment.name)
                           .number("members", segment.members)
                           .number("added", segment.added)
                           .number("removed", segment.removed)
                           .str());
  }
  JsonObject object;
  object.number("events", counts.events).number("users", replay.users());
  if (counts.events > 0) object.text("clock", FormatTimestamp(replay.clock()));
  object.number("late", counts.late)
      .number("too_late", counts.too_late)
      .number("duplicates", counts.duplicates)
      .number("add", counts.changes[segments::v1::ADD])
      .number("remove", counts.changes[segments::v1::REMOVE])
      .number("qualified", counts.changes[segments::v1::QUALIFIED])
      .number("pendings_dropped", replay.cut_off().pendings_dropped)
      .number("facts_dropped", replay.cut_off().facts_dropped)
      .number("message_ids_dropped", replay.cut_off().message_ids_dropped)
      .number("profile_writes_refused", replay.cut_off().profile_writes_refused)
      .number("dead_letters", counts.dead_letters)
      .raw("first_dead_letters", JsonArray(letters))
      .raw("segments", JsonArray(segments));
  fputs((object.str() + "\n").c_str(), stderr);
}

// Opening the output would cut the file off before it is read; what is appended to it would be read
// in turn. Asked before anything is opened. Whatever its names, a file is one by device and inode.
absl::Status CheckOutput(const ReplayOptions& options) {
  struct stat output {};
  // A device or a pipe is not cut off.
  const int known = options.output.empty() ? fstat(STDOUT_FILENO, &output)
                                           : stat(options.output.c_str(), &output);
  if (known != 0 || !S_ISREG(output.st_mode)) return absl::OkStatus();
  std::vector<std::string> inputs = options.segments;
  inputs.push_back(options.events);
  for (const std::string& path : inputs) {
    struct stat input {};
    if ((path == "-" ? fstat(STDIN_FILENO, &input) : stat(path.c_str(), &input)) != 0 ||
        input.st_dev != output.st_dev || input.st_ino != output.st_ino) {
      continue;
    }
    return absl::InvalidArgumentError(absl::StrCat(
        options.output.empty() ? "standard output" : absl::StrCat("--output ", options.output),
        " is the same file as ", path == "-" ? "standard input" : path,
        ": the changes would be written over what is read; give another file"));
  }
  return absl::OkStatus();
}

ExitStatus RunReplay(const GlobalOptions& global, const ReplayOptions& options) {
  Time until = Time::Min();
  if (!options.until.empty() && !ParseTimestamp(options.until, &until)) {
    return Complain(kWrongUse,
                    absl::StrCat("--until: \"", options.until,
                                 "\" is no time; write 2026-04-01 or 2026-04-01T09:00:00Z"));
  }
  if (options.events == "-" &&
      std::count(options.segments.begin(), options.segments.end(), "-") > 0) {
    return Complain(kWrongUse,
                    "--segments - and --events -: standard input can be read only once; give one "
                    "of them as a file");
  }
  if (absl::Status apart = CheckOutput(options); !apart.ok()) return Complain(apart);
  absl::StatusOr<Definitions> definitions = ReadDefinitions(options.segments, References::kHere);
  if (!definitions.ok()) return Complain(definitions.status());
  if (absl::Status problems = ProblemsError(definitions->problems); !problems.ok()) {
    return Complain(problems);
  }
  absl::StatusOr<LineReader> reader = LineReader::Open(options.events);
  if (!reader.ok()) return Complain(reader.status());

  std::unique_ptr<FILE, CloseFile> file;
  if (!options.output.empty()) {
    file.reset(fopen(options.output.c_str(), "w"));
    if (file == nullptr) {
      return Complain(kWrongUse, absl::StrCat(options.output, ": ", strerror(errno)));
    }
  }
  FILE* const output = file != nullptr ? file.get() : stdout;
  const bool for_people = file == nullptr && !global.json && IsTerminal(stdout);
  Progress progress("event");
  const auto sink = [&](std::string_view change) {
    if (for_people) {
      const absl::StatusOr<segments::v1::MembershipChange> decoded = DecodeChange(change);
      progress.hide();
      if (decoded.ok()) Print(ChangeLine(*decoded, stdout));
      return;
    }
    fwrite(change.data(), 1, change.size(), output);
    fputc('\n', output);
  };
  absl::StatusOr<Replay> replay = Replay::Create(std::move(definitions->segments), sink);
  if (!replay.ok()) return Complain(replay.status());

  LineReader::Line line;
  for (;;) {
    absl::StatusOr<bool> more = reader->next(&line);
    if (!more.ok()) return Complain(more.status());
    if (!*more) break;
    if (line.cut) {
      replay->refuse(line.number, DecodeError::kTooLarge, "the line is longer than 1 MiB");
    } else {
      replay->apply(line.text, line.number);
    }
    if (line.number % 1024 == 0) progress.show(reader->progress(), line.number);
  }
  if (!options.until.empty()) replay->advance(until);
  progress.hide();
  if (fflush(output) != 0 || ferror(output) != 0) {
    return Complain(kUnavailable,
                    absl::StrCat(options.output.empty() ? "standard output" : options.output,
                                 " could not be written: ", strerror(errno)));
  }
  if (global.json) {
    PrintSummaryJson(*replay);
  } else {
    PrintSummary(*replay);
  }
  return kDone;
}

}  // namespace

void AddReplayCommand(CLI::App& segctl, const GlobalOptions& global, Command* command) {
  CLI::App* replay = segctl.add_subcommand(
      "replay", "Try segments on a file of events, without a server: writes their changes");
  auto options = std::make_shared<ReplayOptions>();
  replay
      ->add_option("--segments", options->segments,
                   "File of definitions (YAML or JSON), - for standard input; may be given again")
      ->type_name("FILE")
      ->required()
      ->allow_extra_args(false);
  replay
      ->add_option("--events", options->events,
                   "Events, one JSON object a line, in the order of their offsets; .gz is read "
                   "too, - is standard input")
      ->type_name("FILE")
      ->required();
  replay
      ->add_option("--until", options->until,
                   "At the end let deadlines up to this time fire; without it the clock ends at "
                   "the newest event")
      ->type_name("TIME");
  replay
      ->add_option("--output", options->output,
                   "Write the changes there as JSON, one a line; without it to standard output")
      ->type_name("FILE");
  replay->footer(
      "The record time of an event is its event time, and deadlines need no grace. Changes go to "
      "standard\n"
      "output, on a terminal as text unless --json is given, and a summary to standard error.\n"
      "Segments without an id get a number that no other has.\n\n"
      "Examples:\n"
      "  segctl replay --segments cart.yaml --events events.ndjson.gz\n"
      "  segctl replay --segments cart.yaml --events events.ndjson --until 2026-06-01 --output "
      "changes.ndjson\n"
      "  kafkacat -C -t events -e | segctl replay --segments cart.yaml --events - --json | jq "
      ".user_id\n");
  replay->callback([options, &global, command] {
    *command = [options, &global] { return RunReplay(global, *options); };
  });
}

}  // namespace segmentd
