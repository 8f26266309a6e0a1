// segctl segment: the options of its commands, and create, get, update, delete, clone, pause and
// resume.

#include "app/segctl_segment.h"

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "app/console.h"
#include "app/definition_files.h"
#include "app/help.h"
#include "app/segctl.h"
#include "app/segment_calls.h"
#include "app/segment_text.h"
#include "proto/segments/v1/segment_service.grpc.pb.h"
#include "segment/absl_view.h"
#include "segment/definition_text.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;

ExitStatus Create(const GlobalOptions& global, const SegmentOptions& options) {
  return WithDefinitions(
      global, options.files, [&](SegmentCalls& calls, const Definitions& definitions) {
        for (size_t i = 0; i < definitions.segments.size(); ++i) {
          pb::Segment stored;
          const grpc::Status status = calls.create(definitions.segments[i], &stored);
          if (!status.ok()) return calls.complain(status, definitions.places[i]);
          PrintDone(global, "created", stored);
        }
        return kDone;
      });
}

ExitStatus Get(const GlobalOptions& global, const SegmentOptions& options) {
  return WithServer(global, [&](SegmentCalls& calls) {
    pb::Segment segment;
    const grpc::Status status = calls.get(options.id, &segment);
    if (!status.ok()) return calls.complain(status);
    if (global.json) {
      Print(SegmentToJson(segment) + "\n");
      return kDone;
    }
    std::string about = absl::StrCat(
        "# ", StatusText(segment), ", version ", segment.version(), "\n# created ",
        segment.has_create_time() ? Moment(segment.create_time()) : "at an unknown time",
        segment.created_by().empty() ? "" : " by ", segment.created_by(), ", updated ",
        segment.has_update_time() ? Moment(segment.update_time()) : "at an unknown time",
        segment.updated_by().empty() ? "" : " by ", segment.updated_by(), "\n");
    if (!segment.status_detail().empty()) about += AsComment(segment.status_detail());
    Print(Paint(about, Color::kDim, stdout));
    Print(Written(segment));
    // With it the file can be edited and given to update.
    std::string etag;
    AppendJsonString(segment.etag(), &etag);
    Print(absl::StrCat("etag: ", etag, "\n"));
    return kDone;
  });
}

ExitStatus Update(const GlobalOptions& global, const SegmentOptions& options) {
  return WithDefinitions(global, options.files, [&](SegmentCalls& calls, Definitions& definitions) {
    if (!options.etag.empty() && definitions.segments.size() != 1) {
      return Complain(kWrongUse, "--etag goes with a single segment");
    }
    for (size_t i = 0; i < definitions.segments.size(); ++i) {
      pb::Segment& segment = definitions.segments[i];
      const std::string& place = definitions.places[i];
      if (segment.id().empty()) {
        return Complain(kWrongUse, absl::StrCat(place, ": \"", segment.name(),
                                                "\" has no id; update needs one in each segment"));
      }
      if (!options.etag.empty()) segment.set_etag(options.etag);
      if (options.force) {
        pb::Segment stored;
        const grpc::Status status = calls.get(segment.id(), &stored);
        if (!status.ok()) return calls.complain(status, place);
        segment.set_etag(stored.etag());
      }
      if (segment.etag().empty()) {
        return Complain(
            kWrongUse,
            absl::StrCat(place, ": no etag in the file; take the one that `segctl segment get ",
                         segment.id(),
                         "` shows, give --etag, or overwrite whatever is there with --force"));
      }
    }
    for (size_t i = 0; i < definitions.segments.size(); ++i) {
      pb::Segment stored;
      const grpc::Status status = calls.update(definitions.segments[i], &stored);
      if (!status.ok()) return calls.complain(status, definitions.places[i]);
      PrintDone(global, "updated", stored);
    }
    return kDone;
  });
}

ExitStatus Delete(const GlobalOptions& global, const SegmentOptions& options) {
  return WithServer(global, [&](SegmentCalls& calls) {
    pb::DeleteSegmentsRequest request;
    for (const std::string& id : options.ids) request.add_ids(id);
    request.set_etag(options.etag);
    google::protobuf::Empty nothing;
    const grpc::Status status =
        calls.call(&pb::SegmentService::Stub::DeleteSegments, request, &nothing);
    if (!status.ok()) return calls.complain(status);
    for (const std::string& id : options.ids) {
      Print(global.json ? JsonObject().text("deleted", id).str() + "\n"
                        : absl::StrCat("deleted ", id, "\n"));
    }
    return kDone;
  });
}

ExitStatus Clone(const GlobalOptions& global, const SegmentOptions& options) {
  return WithServer(global, [&](SegmentCalls& calls) {
    pb::CloneSegmentRequest request;
    request.set_id(options.id);
    request.set_new_id(options.new_id);
    request.set_new_name(options.new_name);
    pb::Segment stored;
    const grpc::Status status = calls.clone(request, &stored);
    if (!status.ok()) return calls.complain(status);
    PrintDone(global, "created", stored);
    return kDone;
  });
}

ExitStatus Pause(const GlobalOptions& global, const SegmentOptions& options) {
  return WithServer(global, [&](SegmentCalls& calls) {
    pb::PauseSegmentRequest request;
    request.set_id(options.id);
    pb::Segment stored;
    const grpc::Status status =
        calls.call(&pb::SegmentService::Stub::PauseSegment, request, &stored);
    if (!status.ok()) return calls.complain(status);
    PrintDone(global, "paused", stored);
    return kDone;
  });
}

ExitStatus Resume(const GlobalOptions& global, const SegmentOptions& options) {
  return WithServer(global, [&](SegmentCalls& calls) {
    pb::ResumeSegmentRequest request;
    request.set_id(options.id);
    pb::Segment stored;
    const grpc::Status status =
        calls.call(&pb::SegmentService::Stub::ResumeSegment, request, &stored);
    if (!status.ok()) return calls.complain(status);
    PrintDone(global, "resumed", stored);
    return kDone;
  });
}

}  // namespace

void PrintDone(const GlobalOptions& global, std::string_view verb,
               const segments::v1::Segment& segment) {
  if (global.json) return Print(SegmentToJson(segment) + "\n");
  Print(absl::StrCat(AbslView(verb), " ", Paint(segment.id(), Color::kBold, stdout), "  ",
                     segment.name(), "  (version ", segment.version(), ", ",
                     Paint(StatusText(segment), StatusColor(segment), stdout), ")\n"));
  if (!segment.status_detail().empty()) Print(absl::StrCat("  ", segment.status_detail(), "\n"));
}

void AddSegmentCommands(CLI::App& segctl, const GlobalOptions& global, Command* command) {
  CLI::App* segment = segctl.add_subcommand("segment", "Create, read, change and delete segments");
  segment->require_subcommand(0, 1);
  segment->footer(
      "Examples:\n  segctl segment validate --local -f cart.yaml\n"
      "  segctl segment create -f cart.yaml\n"
      "  segctl segment apply -f segments.yaml\n\n"
      "`segctl segment COMMAND --help` tells more of each.\n");
  auto options = std::make_shared<SegmentOptions>();
  using Run = ExitStatus (*)(const GlobalOptions&, const SegmentOptions&);
  const auto add = [&](const char* name, const char* description, const char* examples, Run run) {
    CLI::App* added = segment->add_subcommand(name, description);
    added->footer(examples);
    added->callback([options, &global, command, run] {
      *command = [options, &global, run] { return run(global, *options); };
    });
    return added;
  };
  const auto take_files = [&](CLI::App* to) {
    to->add_option(
          "-f,--file", options->files,
          "File of one or more segments (YAML or JSON), - for standard input; may be given again")
        ->type_name("FILE")
        ->required()
        ->allow_extra_args(false);
  };
  const auto take_id = [&](CLI::App* to) {
    to->add_option("id", options->id, "The segment's ID")->required();
  };

  take_files(add("create", "Store new segments, and wait until they run or are being built",
                 "Examples:\n  segctl segment create -f cart.yaml\n"
                 "  segctl segment create -f - <<< '{name: Booked, live: {actions: {any_of: "
                 "[{event: Booked}]}}}'\n",
                 Create));

  CLI::App* list =
      add("list", "Show segments, with filters",
          "Examples:\n  segctl segment list\n"
          "  segctl segment list --type live --status active --sort 'update_time desc'\n"
          "  segctl segment list --search cart --json | jq .id\n",
          ListSegments);
  list->add_option("--search", options->search, "Part of the name or of the ID")->type_name("TEXT");
  list->add_option("--type", options->types,
                   "live, past_behavior, api, custom_list; may be given again")
      ->type_name("TYPE")
      ->allow_extra_args(false)
      ->check(CLI::IsMember({"live", "past_behavior", "api", "custom_list"}, CLI::ignore_case)
                  .description(""));
  list->add_option("--status", options->statuses,
                   "active, pending, building, paused, invalid, deleting; may be given again")
      ->type_name("STATUS")
      ->allow_extra_args(false)
      ->check(CLI::IsMember({"active", "pending", "building", "paused", "invalid", "deleting"},
                            CLI::ignore_case)
                  .description(""));
  list->add_option("--created-by", options->created_by, "By whom it was created")
      ->type_name("NAME");
  list->add_option("--updated-by", options->updated_by, "By whom it was updated last")
      ->type_name("NAME");
  list->add_option("--created-from", options->created_from, "Created at this time or later")
      ->type_name("TIME");
  list->add_option("--created-to", options->created_to, "Created before this time")
      ->type_name("TIME");
  list->add_option("--sort", options->order_by,
                   "id, name, create_time or update_time, with ' desc' for the other direction")
      ->type_name("FIELD");
  list->add_option("--limit", options->limit, "At most so many; 0 for all")
      ->type_name("N")
      ->check(NotNegative)
      ->capture_default_str();

  take_id(add("get", "Show one segment, as a file that can be edited and given to update",
              "Examples:\n  segctl segment get cart-left-behind > cart.yaml\n"
              "  segctl segment get cart-left-behind --json | jq -r .status\n",
              Get));

  CLI::App* update =
      add("update", "Replace the names and definitions of segments",
          "An update is refused when somebody else's came between: the etag tells.\n\n"
          "Examples:\n  segctl segment get cart > cart.yaml && $EDITOR cart.yaml\n"
          "  segctl segment update -f cart.yaml\n"
          "  segctl segment update -f cart.yaml --force\n",
          Update);
  take_files(update);
  CLI::Option* etag = update->add_option("--etag", options->etag, "Instead of the one in the file")
                          ->type_name("ETAG");
  update->add_flag("--force", options->force, "Overwrite whatever is stored now")->excludes(etag);

  CLI::App* remove = add("delete", "Delete segments; every member gets a REMOVE",
                         "Examples:\n  segctl segment delete cart-left-behind\n"
                         "  segctl segment delete a b c       # all or none\n",
                         Delete);
  remove->add_option("id", options->ids, "The segments' IDs, at most 500")->required();
  remove
      ->add_option("--etag", options->etag, "Refuse unless it is the stored one (a single segment)")
      ->type_name("ETAG");

  CLI::App* clone =
      add("clone", "Create a segment with the definition of another",
          "Examples:\n  segctl segment clone cart --id cart-eu --name 'Cart, Europe'\n"
          "  segctl segment clone cart --json | jq -r .id      # the ID that was assigned\n",
          Clone);
  take_id(clone);
  clone->add_option("--id", options->new_id, "ID of the new segment; assigned without it")
      ->type_name("ID");
  clone->add_option("--name", options->new_name, "Its name; 'Copy of ...' without it")
      ->type_name("NAME");

  CLI::App* validate =
      add("validate", "Check definitions without storing them; exit status 1 when one is not valid",
          "Examples:\n  segctl segment validate -f segments.yaml\n"
          "  segctl segment validate --local -f segments.yaml   # needs no server\n",
          ValidateSegments);
  take_files(validate);
  validate->add_flag("--local", options->local,
                     "Only what can be told without a server: not whether referred segments exist");

  take_files(add("apply", "Create or update segments so that the server has what the files say",
                 "Every segment needs an id. Others on the server are left alone.\n\n"
                 "Examples:\n  segctl segment apply -f segments.yaml\n"
                 "  segctl segment apply -f carts.yaml -f readers.yaml\n",
                 ApplySegments));
  take_files(
      add("diff", "Show what apply would change; exit status 1 when there is something",
          "Examples:\n  segctl segment diff -f segments.yaml\n"
          "  segctl segment diff -f segments.yaml || segctl segment apply -f segments.yaml\n",
          DiffSegments));
  CLI::App* export_all = add("export", "Write segments as files for apply, all or those named",
                             "Examples:\n  segctl segment export > segments.yaml\n"
                             "  segctl segment export cart power-users\n",
                             ExportSegments);
  export_all->add_option("id", options->ids, "The segments' IDs; all without one");

  take_id(add("pause", "Stop evaluating a segment; its members stay as they are",
              "Nothing of it is written until it is resumed.\n\n"
              "Examples:\n  segctl segment pause cart-left-behind\n"
              "  segctl segment list --status paused\n",
              Pause));
  take_id(add("resume", "Evaluate a paused segment again, as after an update",
              "Also after the server paused it for more changes than max_changes_per_minute.\n\n"
              "Examples:\n  segctl segment resume cart-left-behind\n"
              "  segctl segment resume power-users && segctl segment watch power-users\n",
              Resume));
  take_files(add(
      "estimate", "Count the users who would be in past-behaviour segments, without storing any",
      "Reads the events that Kafka still holds, which may take minutes; --timeout does not "
      "end it.\nPast behaviour of the files that others refer to need not be stored.\n\n"
      "Examples:\n  segctl segment estimate -f lapsed.yaml\n"
      "  segctl segment estimate -f lapsed.yaml --json | jq .members\n",
      EstimateSegments));
  take_id(add("watch", "Show a segment's status and progress until it is active",
              "Exit status 1 when it won't be by itself: invalid, paused, deleted.\n\n"
              "Examples:\n  segctl segment watch power-users\n"
              "  segctl segment create -f power.yaml && segctl segment watch power-users\n",
              WatchSegment));
}

}  // namespace segmentd
