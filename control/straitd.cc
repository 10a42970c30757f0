// SPDX-License-Identifier: BSD-3-Clause
// straitd: puts the parts together, in the order in which they need one another.
#include "control/bpdu_listener.hh"
#include "control/cli.hh"
#include "control/config_file.hh"
#include "control/configuration.hh"
#include "control/cpu_list.hh"
#include "control/daemon_options.hh"
#include "control/driver_log.hh"
#include "control/eal.hh"
#include "control/log.hh"
#include "control/methods.hh"
#include "control/metrics.hh"
#include "control/metrics_server.hh"
#include "control/port_types.hh"
#include "control/ring_listener.hh"
#include "control/run_dir.hh"
#include "control/server.hh"
#include "control/service.hh"
#include "control/service_manager.hh"
#include "control/standard_files.hh"
#include "control/store_writer.hh"
#include "control/switch.hh"
#include "control/version.hh"
#include "control/xen_adoption.hh"
#include "control/xen_host.hh"
#include "dataplane/engine.hh"
#include "dataplane/guest_span.hh"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include <sys/resource.h>
#include <unistd.h>

namespace {

using namespace strait;
using namespace strait::control;
namespace asio = boost::asio;

int refuse(const std::string& why)
{
    log(log_level::error, "straitd", why);
    return 1;
}

// Each guest takes a dozen of descriptors, up to the hard limit, which DPDK raises the soft one to.
// Where they run out, the vhost library's thread tries to accept the same front end again and
// again.
void warn_of_few_descriptors()
{
    rlimit limit{};
    constexpr rlim_t few = 1024;
    if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max < few) {
        log(log_level::warning, "straitd",
            "this process may open only " + std::to_string(limit.rlim_max) +
                " files, enough for few guests: raise its hard limit (ulimit -Hn, LimitNOFILE=)");
    }
}

ports::result<std::vector<cli::config_command>> read_config(const std::string& path)
{
    const auto text = read_config_file(path);
    if (text.has_error()) {
        return text.error();
    }
    return cli::parse_config({.name = "straitctl", .commands = &methods(), .asks_daemon = true},
                             *text, path);
}

// Runs the commands and then lets ports serve. Returns what went wrong, with its place.
std::optional<std::string> apply(const std::vector<cli::config_command>& commands,
                                 const std::string& path, const rpc& handler, virtual_switch& sw)
{
    std::map<std::string, std::size_t> lines; // of ports
    const auto where = [&](std::size_t line) { return path + ":" + std::to_string(line) + ": "; };
    sw.hold_back();
    for (const auto& [line, command] : commands) {
        const auto done = handler.call(command.method->name, command.parameters);
        if (done.has_error()) {
            return where(line) + done.error().message;
        }
        if (command.method->name == "port.add") {
            lines[std::string{std::string_view{command.parameters.at("name").as_string()}}] = line;
        }
    }
    if (const auto failed = sw.release(); !failed.empty()) {
        return where(lines[failed.front().port]) + failed.front().message;
    }
    return std::nullopt;
}

// Looks ten times a second at links, which groups of flows choose by; twice a second at flows,
// leases, addresses and listeners whose time is up, at the load of queues, at what events tell of,
// at what the store has to hear of, and at what the log had to leave out.
class watch {
public:
    watch(asio::io_context& io, virtual_switch& sw, configuration& config)
        : timer_{io}, switch_{sw}, configuration_{config}
    {
        wait();
    }

private:
    void wait()
    {
        constexpr std::chrono::milliseconds interval{100};
        constexpr unsigned rounds = 5;
        timer_.expires_after(interval);
        timer_.async_wait([this](boost::system::error_code error) {
            if (!error) {
                switch_.look_at_links();
                if (++round_ % rounds == 0) {
                    switch_.look_at_flows();
                    switch_.look_at_changes();
                    switch_.look_at_leases(bindings::clock::now());
                    switch_.look_at_macs();
                    switch_.look_at_groups();
                    switch_.look_at_queues();
                    configuration_.look(std::chrono::steady_clock::now());
                    log_left_out();
                }
                wait();
            }
        });
    }

    asio::steady_timer timer_;
    virtual_switch& switch_;
    configuration& configuration_;
    unsigned round_{0};
};

// Signals that ask a daemon for something, and that would end one that does not know of them. There
// is no file to read again and no log to open again: they are logged.
class ignored_signals {
public:
    explicit ignored_signals(asio::io_context& io) : signals_{io, SIGHUP, SIGUSR1, SIGUSR2}
    {
        wait();
    }

private:
    void wait()
    {
        signals_.async_wait([this](boost::system::error_code error, int signal) {
            if (!error) {
                log(log_level::info, "straitd",
                    std::string{"SIG"} + ::sigabbrev_np(signal) +
                        " changes nothing here: straitctl changes the configuration, and SIGTERM "
                        "ends the daemon");
                wait();
            }
        });
    }

    asio::signal_set signals_;
};

// What is kept, and where; null: nothing is.
struct kept_store {
    std::unique_ptr<store_files> files{};
    store_contents contents{};
};

ports::result<kept_store> open_store(const std::string& path)
{
    auto files = open_store_folder(path);
    if (files.has_error()) {
        return ports::error{files.error().message + " (--no-persist keeps nothing)"};
    }
    auto contents = read_store(**files);
    if (contents.has_error()) {
        return contents.error();
    }
    for (const std::string& torn : contents->torn) {
        log(log_level::info, "store",
            "the last change in " + torn + " was cut off while it was written, and left out");
    }
    return kept_store{std::move(*files), std::move(*contents)};
}

// Makes what is kept again, and keeps what changes from there on.
void restore(kept_store store, service& methods, asio::io_context& io)
{
    const auto began = std::chrono::steady_clock::now();
    const std::string path = store.files->path();
    const auto restored = methods.configuration().restore(store.contents);
    methods.keep_in(std::make_unique<store_writer>(
        std::move(store.files), store.contents,
        store_writer::settings{
            .post = [&io](std::function<void()> call) { asio::post(io, std::move(call)); }}));
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - began);
    log(log_level::info, "store",
        "the configuration is kept in " + path + "; of what was there " +
            std::to_string(restored.made) + " things were made again in " +
            std::to_string(took.count()) + " ms" +
            (restored.failed == 0 ? ""
                                  : ", and " + std::to_string(restored.failed) +
                                        " could not be: straitctl config show lists them"));
}

// "2 workers on CPUs 1-2; 5 ports, 3 of them with a link"
std::string describe(const virtual_switch& sw, const std::vector<unsigned>& cpus)
{
    std::size_t links = 0;
    for (const auto& [name, port] : sw.ports()) {
        links += port.device->link_up() ? 1U : 0U;
    }
    const std::size_t ports = sw.ports().size();
    return std::to_string(cpus.size()) +
           (cpus.size() == 1 ? " worker on CPU " : " workers on CPUs ") + to_cpu_list(cpus) + "; " +
           std::to_string(ports) + (ports == 1 ? " port, " : " ports, ") + std::to_string(links) +
           " of them with a link";
}

int serve(const daemon_options& options, const run_dir& folder,
          const std::vector<cli::config_command>& commands, kept_store store,
          const service_manager& manager)
{
    const auto started = std::chrono::steady_clock::now();
    asio::io_context io;
    // From here on these signals wait until the loop runs, and then end it.
    asio::signal_set signals{io, SIGTERM, SIGINT};
    signals.async_wait([&io](boost::system::error_code error, int signal) {
        if (!error) {
            log(log_level::info, "straitd",
                std::string{"stopping on "} + (signal == SIGINT ? "SIGINT" : "SIGTERM"));
            io.stop();
        }
    });
    const ignored_signals ignored{io};
    lead_driver_log_here();
    auto environment = eal::start(options.eal);
    if (environment.has_error()) {
        return refuse(environment.error().message);
    }
    const eal& dpdk = **environment;
    dataplane::guest_range_registration::install_handler();
    dataplane::engine engine{{.lcores = dpdk.worker_lcores(),
                              .share_cpus = dpdk.share_cpus(),
                              .busy_poll = options.busy_poll,
                              .pool = dpdk.pool()}};
    auto xen = open_xen(options.xen);
    if (xen.has_error()) {
        return refuse(xen.error().message);
    }
    virtual_switch sw{engine,
                      port_types({engine.rcu(), dpdk.pool(), folder.state_dir(),
                                  engine.worker_count(), xen->backend.get(), xen->why_not})};
    sw.set_balancing(!options.no_balance);
    xen_adoption adoption{io, sw, xen->backend.get()};
    capture_list captures{io, sw};
    mirror_list mirrors{io, sw};
    service methods{
        sw,
        adoption,
        captures,
        mirrors,
        {dpdk.worker_cpus(), dpdk.hugepages(), dpdk.physical_addresses(),
         xen->backend ? std::string{xen->backend->get_hypervisor().name()} : std::string{},
         xen->why_not}};
    if (options.config) {
        if (const auto wrong = apply(commands, *options.config, methods.rpc(), sw)) {
            return refuse(*wrong);
        }
    }
    if (store.files) {
        restore(std::move(store), methods, io);
    }
    auto listening = server::listen(io, folder.control_socket(), methods.rpc());
    if (listening.has_error()) {
        return refuse(listening.error().message);
    }
    const metrics_source figures{sw, dpdk.worker_cpus()};
    std::unique_ptr<metrics_server> metrics;
    if (options.metrics) {
        auto giving =
            metrics_server::listen(io, *options.metrics, [&figures] { return figures.page(); });
        if (giving.has_error()) {
            return refuse(giving.error().message);
        }
        metrics = std::move(*giving);
        log(log_level::info, "straitd", "metrics are at " + options.metrics->to_string());
    }
    const watch looking{io, sw, methods.configuration()};
    const ring_listener snooping{io, sw.dhcp_bell(),
                                 [&sw] { return sw.look_at_dhcp(bindings::clock::now()); }};
    const bpdu_listener trees{io, sw};
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - started);
    log(log_level::info, "straitd",
        "version " + std::string{version()} + " serves in " + folder.path() + " with " +
            std::to_string(dpdk.worker_cpus().size()) +
            (dpdk.worker_cpus().size() == 1 ? " worker on CPU " : " workers on CPUs ") +
            to_cpu_list(dpdk.worker_cpus()) + ", the rest on CPU " +
            std::to_string(dpdk.main_cpu()) +
            (dpdk.hugepages() ? ", on huge pages" : ", without huge pages") +
            (dpdk.physical_addresses() ? " at physical addresses" : "") + "; ready after " +
            std::to_string(took.count()) + " ms");
    sw.events().add(event_kind::daemon_ready, {}, {},
                    {{"version", version()},
                     {"bridges", sw.bridges().size()},
                     {"ports", sw.ports().size()},
                     {"missing", methods.configuration().all_missing().size()}});
    const manager_watch managed{io, manager, engine,
                                [&] { return describe(sw, dpdk.worker_cpus()); }};
    io.run();
    return 0;
}

int run(const std::vector<std::string>& words)
{
    const auto parsed = parse_daemon_options(words);
    if (parsed.has_error()) {
        std::fprintf(stderr, "straitd: %s\n", parsed.error().message.c_str());
        return 1;
    }
    daemon_options options = *parsed;
    if (options.help || options.version) {
        const std::string text =
            options.help ? daemon_help() : "straitd " + std::string{version()} + "\n";
        if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
            return refuse("the text cannot be written to the standard output: " +
                          ports::describe(errno));
        }
        return 0;
    }
    set_log_level(options.log);
    const auto manager = service_manager::from_environment(
        [](const char* name) -> const char* { return std::getenv(name); }, ::getpid());
    if (manager.has_error()) {
        return refuse(manager.error().message);
    }
    (void)std::signal(SIGPIPE, SIG_IGN);
    (void)std::signal(SIGIO, SIG_IGN); // drivers use it
    warn_of_few_descriptors();
    if (options.eal.worker_cpus.empty()) {
        options.eal.worker_cpus = {default_worker_cpu(isolated_cpus(), allowed_cpus())};
    }
    std::vector<cli::config_command> commands;
    if (options.config) {
        auto read = read_config(*options.config);
        if (read.has_error()) {
            return refuse(read.error().message);
        }
        commands = std::move(read).value();
    }
    // Before the run folder is made: a start that is refused leaves none.
    if (auto right = check_cpus(options.eal); right.has_error()) {
        return refuse(right.error().message);
    }
    auto folder = run_dir::open(options.eal.run_dir);
    if (folder.has_error()) {
        return refuse(folder.error().message);
    }
    options.eal.run_dir = folder->path();
    kept_store store;
    if (const auto path = state_dir_of(options, folder->path())) {
        auto opened = open_store(*path);
        if (opened.has_error()) {
            return refuse(opened.error().message);
        }
        store = std::move(*opened);
    }
    const int status = serve(options, *folder, commands, std::move(store), *manager);
    if (status == 0) {
        log(log_level::info, "straitd", "stopped");
    }
    return status;
}

} // namespace

int main(int argc, char** argv)
{
    if (!open_standard_files()) {
        return 1;
    }
    try {
        return run(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
    } catch (const std::exception& e) {
        return refuse(e.what());
    }
}
