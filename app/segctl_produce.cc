// segctl produce: a file of events written to Kafka.

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

#include "app/broker_addresses.h"
#include "app/console.h"
#include "app/event_producer.h"
#include "app/event_times.h"
#include "app/help.h"
#include "app/kafka_option.h"
#include "app/line_reader.h"
#include "app/progress.h"
#include "app/segctl.h"
#include "segment/absl_view.h"
#include "stream/decoder.h"
#include "stream/kafka_settings.h"

namespace segmentd {
namespace {

struct ProduceOptions {
  std::string events;
  std::string topic = "events";
  std::string bootstrap = "127.0.0.1:9092";
  std::vector<std::string> kafka;
  double speed = 0;
  bool keep_times = false;
};

constexpr size_t kComplaintsShown = 5;
// Events lie within 10,000 years: played at any of these, the whole ms of all of them fit 64 bits.
constexpr double kMinSpeed = 0.001;
constexpr double kMaxSpeed = 1'000'000;

// The events of a file, those that segmentd would understand.
class EventFile {
 public:
  static absl::StatusOr<EventFile> Open(const std::string& path) {
    absl::StatusOr<LineReader> reader = LineReader::Open(path);
    if (!reader.ok()) return reader.status();
    return EventFile(*std::move(reader));
  }

  struct Line {
    std::string_view text;
    std::string_view user;
    Time time;
  };
  // False at the end. Lines that are no events are passed over, and complained about if wanted.
  absl::StatusOr<bool> next(Line* line, bool complain) {
    LineReader::Line read;
    for (;;) {
      absl::StatusOr<bool> more = reader_.next(&read);
      if (!more.ok() || !*more) return more;
      if (read.text.find_first_not_of(" \t") == std::string_view::npos) continue;
      Event event;
      const DecodeResult result =
          decoder_.decode_line(read.text, Offset(read.number), fields_, &event, &line->user);
      if (result.ok() && !read.cut) {
        line->text = read.text;
        line->time = event.time;
        return true;
      }
      ++refused_;
      if (complain && refused_ <= static_cast<int64_t>(kComplaintsShown)) {
        Complain(kWrongUse,
                 absl::StrCat("line ", read.number, ": ", AbslView(DecodeErrorCode(result.error)),
                              ": ", AbslView(result.detail)));
      }
    }
  }

  int64_t refused() const { return refused_; }

 private:
  explicit EventFile(LineReader reader) : reader_(std::move(reader)), decoder_(Settings()) {}

  LineReader reader_;
  Decoder decoder_;
  Fields fields_;
  int64_t refused_ = 0;
};

struct Survey {
  int64_t events = 0;
  // Lines that are none.
  int64_t refused = 0;
  Time first = Time::Min();
  Time oldest = Time::Max();
  Time newest = Time::Min();
};

absl::StatusOr<Survey> Look(const std::string& path) {
  absl::StatusOr<EventFile> file = EventFile::Open(path);
  if (!file.ok()) return file.status();
  Survey survey;
  EventFile::Line line;
  for (;;) {
    absl::StatusOr<bool> more = file->next(&line, /*complain=*/true);
    if (!more.ok()) return more.status();
    if (!*more) break;
    if (survey.events++ == 0) survey.first = line.time;
    survey.oldest = std::min(survey.oldest, line.time);
    survey.newest = std::max(survey.newest, line.time);
  }
  survey.refused = file->refused();
  return survey;
}

// The file is read twice, so standard input is copied first.
struct CloseFile {
  void operator()(FILE* file) const { fclose(file); }
};
using File = std::unique_ptr<FILE, CloseFile>;

File CopyOfStandardInput() {
  File copy(tmpfile());
  if (copy == nullptr) return copy;
  std::string part(1 << 16, '\0');
  size_t got = 0;
  while ((got = fread(part.data(), 1, part.size(), stdin)) > 0) {
    if (fwrite(part.data(), 1, got, copy.get()) != got) return nullptr;
  }
  return fflush(copy.get()) == 0 ? std::move(copy) : nullptr;
}

Time Now() {
  return Time::Millis(absl::ToUnixMillis(absl::Now()));
}

absl::Status Play(const ProduceOptions& options, const std::string& path, const Survey& survey,
                  EventProducer& producer) {
  absl::StatusOr<EventFile> file = EventFile::Open(path);
  if (!file.ok()) return file.status();
  Progress progress("event");
  const Time started = Now();
  const Duration to_now = started - survey.newest;
  EventFile::Line line;
  std::string shifted;
  for (int64_t count = 0;;) {
    absl::StatusOr<bool> more = file->next(&line, /*complain=*/false);
    if (!more.ok()) return more.status();
    if (!*more) return absl::OkStatus();
    Duration shift;
    if (options.speed > 0) {
      const double after = static_cast<double>((line.time - survey.first).millis());
      const Time due = started + Duration::Millis(static_cast<int64_t>(after / options.speed));
      // In portions, for the bar.
      for (Time now = Now(); now < due; now = Now()) {
        progress.show(static_cast<double>(count) / static_cast<double>(survey.events), count);
        producer.wait(absl::Milliseconds(std::min<int64_t>((due - now).millis(), 100)));
      }
      shift = Now() - line.time;
    } else if (!options.keep_times) {
      shift = to_now;
    }
    std::string_view value = line.text;
    if (shift != Duration()) {
      if (absl::Status status = ShiftEventTimes(line.text, shift, &shifted); !status.ok()) {
        return status;
      }
      value = shifted;
    }
    if (absl::Status status = producer.send(line.user, value, line.time + shift); !status.ok()) {
      return status;
    }
    ++count;
    progress.show(static_cast<double>(count) / static_cast<double>(survey.events), count);
  }
}

ExitStatus Produce(const GlobalOptions& global, const ProduceOptions& options) {
  // The Kafka client's own words.
  spdlog::set_default_logger(std::make_shared<spdlog::logger>(
      "segctl", std::make_shared<spdlog::sinks::stderr_sink_mt>()));
  spdlog::set_pattern("segctl: %v");
  spdlog::set_level(spdlog::level::warn);

  const absl::Duration bound = absl::Milliseconds(global.timeout.millis());
  const absl::StatusOr<KafkaSettings> settings = KafkaSettings::Parse(
      options.bootstrap,
      MergeKafkaSettings(KafkaSettingLines(std::getenv("SEGCTL_KAFKA")), options.kafka));
  if (!settings.ok()) return Complain(settings.status());
  if (absl::Status good = CheckBrokerAddresses(*settings); !good.ok()) return Complain(good);

  File copy;
  std::string path = options.events;
  if (path == "-") {
    copy = CopyOfStandardInput();
    if (copy == nullptr)
      return Complain(kUnavailable, "standard input could not be copied to a temporary file");
    path = absl::StrCat("/dev/fd/", fileno(copy.get()));
  }
  const absl::StatusOr<Survey> survey = Look(path);
  if (!survey.ok()) return Complain(survey.status());
  if (survey->events == 0) return Complain(kWrongUse, "there is no event in what was given");

  const absl::StatusOr<std::unique_ptr<EventProducer>> connected =
      EventProducer::Connect(*settings, options.topic, bound);
  if (!connected.ok()) return Complain(connected.status());
  EventProducer& producer = **connected;
  if (options.speed == 0) {
    const absl::StatusOr<TopicRetention> retention = producer.retention(bound);
    if (!retention.ok()) return Complain(retention.status());
    const Time now = Now();
    if (absl::Status kept = CheckRetention(*retention, options.topic, now - survey->oldest,
                                           now - survey->newest, options.keep_times);
        !kept.ok()) {
      return Complain(kept);
    }
  }

  const absl::Time begun = absl::Now();
  const absl::Status played = Play(options, path, *survey, producer);
  producer.finish(bound);
  const double seconds = absl::ToDoubleSeconds(absl::Now() - begun);
  if (global.json) {
    JsonObject object;
    object.text("topic", options.topic)
        .number("delivered", producer.delivered())
        .number("failed", producer.failed())
        .number("not_understood", survey->refused);
    if (producer.failed() > 0) object.text("error", producer.first_error());
    Print(object.str() + "\n");
  } else {
    fputs(absl::StrFormat("%s written to %s in %.1f s\n", Counted(producer.delivered(), "event"),
                          options.topic, seconds)
              .c_str(),
          stderr);
  }
  if (!played.ok()) return Complain(played);
  if (producer.failed() > 0) {
    // What Kafka refuses as it is, it would refuse again.
    const ExitStatus exit = producer.failed() > producer.refused() ? kUnavailable : kWrongUse;
    return Complain(exit, absl::StrCat(Counted(producer.failed(), "event"),
                                       " not written: ", producer.first_error()));
  }
  if (survey->refused > 0) {
    return Complain(kWrongUse,
                    absl::StrCat(Counted(survey->refused, "line"), " not understood and left out"));
  }
  return kDone;
}

}  // namespace

void AddProduceCommand(CLI::App& segctl, const GlobalOptions& global, Command* command) {
  CLI::App* produce = segctl.add_subcommand("produce", "Write a file of events to Kafka");
  auto options = std::make_shared<ProduceOptions>();
  produce
      ->add_option("file", options->events,
                   "Events, one JSON object a line; .gz is read too, - is standard input")
      ->type_name("FILE")
      ->required();
  produce->add_option("--bootstrap-servers,--bootstrap", options->bootstrap, "Kafka's addresses")
      ->envname("SEGCTL_BOOTSTRAP_SERVERS")
      ->type_name("HOST:PORT,...")
      ->capture_default_str();
  produce->add_option("--topic", options->topic, "The topic to write to")
      ->type_name("TOPIC")
      ->capture_default_str();
  produce
      ->add_option("--kafka", options->kafka,
                   "Setting of the Kafka client, with librdkafka's name; may be given again")
      ->envname("SEGCTL_KAFKA")
      ->type_name("NAME=VALUE")
      ->delimiter('\n')
      ->allow_extra_args(false);
  CLI::Option* speed =
      produce
          ->add_option("--speed", options->speed,
                       "Play the events, gaps divided by this (0.001 to 1,000,000), each stamped "
                       "when it is sent")
          ->type_name("N")
          ->check([](const std::string& text) {
            double times = 0;
            const bool ok =
                absl::SimpleAtod(text, &times) && times >= kMinSpeed && times <= kMaxSpeed;
            return ok ? std::string() : "write a number from 0.001 to 1,000,000";
          });
  produce->add_flag("--keep-times", options->keep_times, "Leave the events' times as they are")
      ->excludes(speed);
  produce->footer(
      "Times are shifted so that the newest event is now, in the body too; the record time is the "
      "event\n"
      "time. Refused where the topic's settings would delete records as old as that. The key is "
      "the user's ID,\n"
      "and a key goes to the partition where Kafka's Java producer would put it.\n\n"
      "Examples:\n"
      "  segctl produce events.ndjson.gz\n"
      "  segctl produce events.ndjson.gz --speed 3600       # an hour in a second\n"
      "  segctl produce events.ndjson --bootstrap kafka:9093 --kafka security.protocol=SSL\n");
  produce->callback([options, &global, command] {
    *command = [options, &global] { return Produce(global, *options); };
  });
}

}  // namespace segmentd
