import java.io.BufferedInputStream;
import java.io.ByteArrayInputStream;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import javax.xml.XMLConstants;
import javax.xml.parsers.DocumentBuilderFactory;
import javax.xml.parsers.SAXParserFactory;
import javax.xml.transform.stream.StreamSource;
import javax.xml.validation.Schema;
import javax.xml.validation.SchemaFactory;
import javax.xml.validation.ValidatorHandler;
import org.w3c.dom.ls.DOMImplementationLS;
import org.w3c.dom.ls.LSInput;
import org.xml.sax.ErrorHandler;
import org.xml.sax.InputSource;
import org.xml.sax.SAXException;
import org.xml.sax.SAXParseException;
import org.xml.sax.XMLReader;

/** Reads documents from standard input (four bytes of size, then the document) and writes a line for each: + or - and why. */
public final class AnotherValidator {
    private static final class FirstFault implements ErrorHandler {
        private String message;

        @Override
        public void warning(SAXParseException fault) {}

        @Override
        public void error(SAXParseException fault) {
            message = message == null ? fault.getMessage() : message;
        }

        @Override
        public void fatalError(SAXParseException fault) throws SAXException {
            throw fault;
        }
    }

    /** Arguments: the folder of the schema files, and the name of the main one. */
    public static void main(String[] arguments) throws Exception {
        Path folder = Path.of(arguments[0]);
        DOMImplementationLS inputs = (DOMImplementationLS) DocumentBuilderFactory.newInstance()
            .newDocumentBuilder().getDOMImplementation().getFeature("LS", "3.0");
        SchemaFactory factory = SchemaFactory.newInstance(XMLConstants.W3C_XML_SCHEMA_NS_URI);
        factory.setResourceResolver((type, namespace, publicId, systemId, base) -> {
            LSInput input = inputs.createLSInput();
            try {
                input.setByteStream(Files.newInputStream(folder.resolve(systemId.substring(systemId.lastIndexOf('/') + 1))));
            } catch (IOException missing) {
                throw new IllegalStateException(missing);
            }
            input.setSystemId(systemId);
            return input;
        });
        Schema schema = factory.newSchema(new StreamSource(folder.resolve(arguments[1]).toFile()));
        SAXParserFactory parsers = SAXParserFactory.newInstance();
        parsers.setNamespaceAware(true);
        parsers.setFeature("http://apache.org/xml/features/disallow-doctype-decl", true);
        DataInputStream documents = new DataInputStream(new BufferedInputStream(System.in));
        PrintStream verdicts = new PrintStream(System.out, false, "UTF-8");
        while (true) {
            int size;
            try {
                size = documents.readInt();
            } catch (EOFException end) {
                break;
            }
            String fault = judge(documents.readNBytes(size), schema, parsers);
            verdicts.println(fault == null ? "+" : "-" + fault.replaceAll("\\s+", " "));
        }
        verdicts.flush();
    }

    private static String judge(byte[] document, Schema schema, SAXParserFactory parsers) throws Exception {
        FirstFault first = new FirstFault();
        ValidatorHandler validator = schema.newValidatorHandler();
        validator.setErrorHandler(first);
        XMLReader reader = parsers.newSAXParser().getXMLReader();
        reader.setErrorHandler(first);
        reader.setContentHandler(validator);
        try {
            reader.parse(new InputSource(new ByteArrayInputStream(document)));
        } catch (SAXException | IOException fault) {
            return "not well-formed: " + fault.getMessage();
        }
        return first.message;
    }
}
